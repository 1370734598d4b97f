package host

// isNoAddress reports whether a listen failed because the machine does not have
// the address. Windows has both loopback addresses.
func isNoAddress(error) bool { return false }
