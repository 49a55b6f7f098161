package rtnl

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Hostname returns the kernel's host name.
func (h *Host) Hostname() (string, error) { return os.Hostname() }

// SetHostname sets it, for the UTS namespace of the process.
func (h *Host) SetHostname(name string) error {
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("set host name %s: %w", name, err)
	}
	return nil
}

// Nameservers reads the resolver file; false means that there is none.
func (h *Host) Nameservers() ([]netip.Addr, bool, error) {
	data, err := os.ReadFile(h.resolver)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read resolver configuration: %w", err)
	}
	return parseResolver(data), true, nil
}

// SetNameservers replaces the resolver file in place of a rename, since it may be bind-mounted elsewhere.
func (h *Host) SetNameservers(servers []netip.Addr) error {
	if err := os.WriteFile(h.resolver, formatResolver(servers), 0o644); err != nil {
		return fmt.Errorf("write resolver configuration: %w", err)
	}
	return nil
}

// parseResolver returns the addresses of the nameserver lines, resolv.conf(5). Lines it cannot read are passed over.
func parseResolver(data []byte) []netip.Addr {
	var out []netip.Addr
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			out = append(out, a)
		}
	}
	return out
}

func formatResolver(servers []netip.Addr) []byte {
	var b bytes.Buffer
	b.WriteString("# Written by machined from the Network document or DHCP.\n")
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	return b.Bytes()
}
