package admin

import (
	"errors"

	"golang.org/x/sys/windows"
)

// refused reports whether a connection failed because nobody listens on the socket.
func refused(err error) bool { return errors.Is(err, windows.WSAECONNREFUSED) }
