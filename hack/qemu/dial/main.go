// Command dial carries its standard input and output to an address of this machine. QEMU's user network runs it for each connection of a guest to a place
// that package network lets it reach (qemu(1), guestfwd with cmd:), so that the guest reaches that one port and nothing else.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "dial: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("expected one argument, an address such as 127.0.0.1:8080")
	}
	to, err := netip.ParseAddrPort(args[0])
	if err != nil || !to.Addr().IsLoopback() {
		return fmt.Errorf("%q is no address of this machine's loopback interface", args[0])
	}
	conn, err := net.Dial("tcp", to.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() {
		_, _ = io.Copy(conn, in) // its end is the guest's
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	_, err = io.Copy(out, conn)
	return err
}
