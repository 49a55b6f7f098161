package source

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/cyvive/cyvive/internal/machined"
	"github.com/cyvive/cyvive/internal/machined/boot/cmdline"
)

// The parameters of the kernel command line that lead to a configuration on a web server.
const (
	urlArg = "cyvive.config"
	// sumArg is the SHA-256 of what the server gives, before it is decompressed.
	sumArg = "cyvive.config.sha256"
	// keyArg is the SHA-256 of the server's public key (SubjectPublicKeyInfo, DER), as RFC 7469 has it.
	keyArg = "cyvive.config.spki"
)

var errOtherKey = errors.New("the server has another key than " + keyArg + "= says")

// pinned is a URL with what its server or its documents are known by.
type pinned struct {
	url *url.URL
	// sum and key are nil where they are not given.
	sum, key *[sha256.Size]byte
}

// parseURL reads the parameters; nil is that there are none.
func parseURL(args cmdline.Args) (*pinned, error) {
	text, given, err := args.Only(urlArg)
	if err != nil {
		return nil, err
	}
	p := &pinned{}
	if p.sum, err = parseSum(args, sumArg); err != nil {
		return nil, err
	}
	if p.key, err = parseSum(args, keyArg); err != nil {
		return nil, err
	}
	switch {
	case !given && p.sum == nil && p.key == nil:
		return nil, nil
	case !given:
		return nil, fmt.Errorf("kernel command line: %s= or %s= is given without %s=", sumArg, keyArg, urlArg)
	}
	if p.url, err = url.Parse(text); err != nil || p.url.Hostname() == "" || p.url.Scheme != "http" && p.url.Scheme != "https" {
		shown, _, _ := strings.Cut(text, "?")
		return nil, fmt.Errorf("kernel command line: %s=%.200q, expected a URL with http or https and a host", urlArg, shown)
	}
	return p, p.check()
}

// parseSum reads a parameter that is a SHA-256; nil is that it is not there.
func parseSum(args cmdline.Args, name string) (*[sha256.Size]byte, error) {
	value, given, err := args.Only(name)
	if err != nil || !given {
		return nil, err
	}
	raw, err := hex.DecodeString(value)
	if err != nil || len(raw) != sha256.Size {
		return nil, fmt.Errorf("kernel command line: %s=%.100q is not 64 hexadecimal digits", name, value)
	}
	return (*[sha256.Size]byte)(raw), nil
}

// check wants the documents or their server to be known by something.
func (p *pinned) check() error {
	switch {
	case p.url.Fragment != "":
		return fmt.Errorf("kernel command line: %s= has a part behind #, which no server gets to see", urlArg)
	case p.url.User != nil:
		return fmt.Errorf("kernel command line: %s= holds a user name, which would be no secret there", urlArg)
	case p.url.Scheme == "http" && p.key != nil:
		return fmt.Errorf("kernel command line: %s= is for https, and %s= has http", keyArg, urlArg)
	case p.url.Scheme == "http" && p.sum == nil:
		return fmt.Errorf("kernel command line: %s= with http needs %s=, so that nobody on the way can change the documents", urlArg, sumArg)
	case p.sum == nil && p.key == nil:
		return fmt.Errorf("kernel command line: %s= needs %s= or %s=: a node judges no certificate by its authority before it has a configuration",
			urlArg, sumArg, keyArg)
	}
	return nil
}

// at is the URL without its query, which is for the server only.
func (p *pinned) at() string {
	at, _, _ := strings.Cut(p.url.String(), "?")
	return at
}

// tls accepts any certificate whose key is the one that was named. Without one it accepts all: the documents are known by their sum, and the
// connection is private against who only listens.
func (p *pinned) tls() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // in place of it, VerifyConnection looks at the key
		VerifyConnection: func(state tls.ConnectionState) error {
			if p.key != nil && sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo) != *p.key {
				return errOtherKey
			}
			return nil
		},
	}
}

// fetch asks the server. That it has nothing is trouble: the command line says that there is something.
func (p *pinned) fetch(ctx context.Context, c *client) (*machined.Document, error) {
	a, err := c.ask(ctx, http.MethodGet, p.url.String(), nil)
	switch {
	case err != nil:
		return nil, err
	case a.none:
		return nil, &trouble{reason: p.at() + ": the server has nothing there", passing: true}
	}
	if sum := sha256.Sum256(a.body); p.sum != nil && sum != *p.sum {
		return nil, &trouble{reason: fmt.Sprintf("%s: the documents have the SHA-256 %x, and %s= is %x", p.at(), sum, sumArg, *p.sum)}
	}
	return found{p.at(), a.body}.document()
}
