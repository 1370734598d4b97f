package proto

//go:generate make -C .. generate
