// Package cmdline reads the kernel's command line.
package cmdline

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"
)

// Args are the parameters in their order.
type Args []Arg

// Arg is "key" or "key=value".
type Arg struct{ Key, Value string }

// Read returns the command line of the running kernel.
func Read() (Args, error) {
	raw, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, fmt.Errorf("read kernel command line: %w", err)
	}
	return Parse(string(raw)), nil
}

// Parse splits a command line at white space outside double quotes, as
// next_arg in lib/cmdline.c does. It ends at "--", after which the kernel
// passes all to init.
func Parse(s string) Args {
	var args Args
	for {
		s = strings.TrimLeft(s, " \t\r\n\v\f\x00")
		if s == "" {
			return args
		}
		var word string
		word, s = cut(s)
		if word == "--" {
			return args
		}
		key, value, _ := strings.Cut(word, "=")
		args = append(args, Arg{strings.ReplaceAll(key, `"`, ""), strings.ReplaceAll(value, `"`, "")})
	}
}

func cut(s string) (word, rest string) {
	quoted := false
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case !quoted && strings.IndexByte(" \t\r\n\v\f\x00", c) >= 0:
			return s[:i], s[i:]
		}
	}
	return s, ""
}

// Last returns the value of the last parameter named key, and whether there is one.
func (a Args) Last(key string) (string, bool) {
	for i := len(a) - 1; i >= 0; i-- {
		if a[i].Key == key {
			return a[i].Value, true
		}
	}
	return "", false
}

// Only returns the value of the parameter named key, and whether there is one.
// Given twice it must agree, so that nothing appended to a signed line can change
// what stands on it.
func (a Args) Only(key string) (value string, ok bool, err error) {
	for _, p := range a {
		if p.Key != key {
			continue
		}
		if ok && p.Value != value {
			return "", false, fmt.Errorf("kernel command line: %s= is given twice, and differs", key)
		}
		value, ok = p.Value, true
	}
	return value, ok, nil
}

// RootHash is the parameter roothash=: the SHA-256 root of the root file
// system's verity tree.
func (a Args) RootHash() ([32]byte, error) {
	var hash [32]byte
	text, _, err := a.Only("roothash")
	if err != nil {
		return hash, err
	}
	if text == "" {
		return hash, fmt.Errorf("kernel command line: roothash= is missing")
	}
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(hash) {
		return hash, fmt.Errorf("kernel command line: roothash=%q is not 64 hexadecimal digits", text)
	}
	copy(hash[:], raw)
	return hash, nil
}
