// Package peer tells as which user the process at the other end of a unix socket
// runs, by what the kernel noted (SO_PEERCRED): of one that listens, when it
// began to. A path in a folder that belongs to somebody else may lead anywhere;
// who answers there cannot be forged.
package peer
