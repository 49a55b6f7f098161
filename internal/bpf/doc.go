// Package bpf is the home of what all eBPF programs of the node share: include/kernel.h, the part of the kernel's interface that they use.
//
// A program is a file X.c in the package that loads it, with "//go:build ignore" at its top, as go build takes C only for cgo. hack/bpf.sh compiles every one below internal with the include folder in its path,
// and writes X_bpfel.o and X_bpfel.go beside it, which are committed: building the node needs no C compiler. The programs are little
// endian, as are the node's two architectures. make generate writes them again, and make check proves them current.
package bpf
