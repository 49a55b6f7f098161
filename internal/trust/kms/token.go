package kms

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"

	"github.com/cyvive/cyvive/internal/trust/wrap"
)

// TokenType names the form of the token among those of a LUKS2 header.
const TokenType = "cyvive-kms"

// tokenVersion is raised when an older release could misread a token.
const tokenVersion = 1

const (
	// maxSealedBytes bounds what a server makes of 32 bytes; the reference implementation makes 60.
	maxSealedBytes = 2048
	// maxTokenBytes is what a token may take of the 12 KiB that a header has for all that is JSON in it (package luks, metadataSize).
	maxTokenBytes = 8 << 10
	// maxEndpointBytes is the longest URL of a server.
	maxEndpointBytes = 512
	// defaultPort is that of https.
	defaultPort = "443"
)

// Server is a key server, and by what it is known.
type Server struct {
	// Endpoint is its URL: https, a host, and a port unless that is 443.
	Endpoint string
	// CA are the authorities of its certificate, PEM.
	CA string
	// Certificate and Key are what the node shows it, PEM; empty where it asks for nothing.
	Certificate, Key string
}

// Format writes the endpoint for every verb: nothing prints the key.
func (s Server) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.Endpoint) }

// address returns host and port of the endpoint for a dialler, and the host, which the server's certificate has to name.
func (s Server) address() (address, host string, err error) {
	u, err := url.Parse(s.Endpoint)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" ||
		len(s.Endpoint) > maxEndpointBytes {
		return "", "", fmt.Errorf("%.80q is no URL of a key server, expected one such as https://kms.example:4050", s.Endpoint)
	}
	port := u.Port()
	if port == "" {
		port = defaultPort
	}
	return net.JoinHostPort(u.Hostname(), port), u.Hostname(), nil
}

// Token is a key that a server and the header open together, as the header of its volume keeps it.
type Token struct {
	wrap.Binding
	Server Server
	// Sealed is what the server gives the secret out for, Half the other half, and Wrapped the volume's key.
	Sealed, Half, Wrapped []byte
}

// tokenText is the JSON form.
type tokenText struct {
	wrap.Text
	Endpoint    string `json:"endpoint"`
	CA          string `json:"ca"`
	Certificate string `json:"certificate,omitempty"`
	Key         string `json:"key,omitempty"`
	Sealed      []byte `json:"sealed"`
	Half        []byte `json:"half"`
	Wrapped     []byte `json:"wrapped"`
}

// Encode returns the token as a LUKS2 header takes it. It fails where that has no room for it.
func (t Token) Encode() ([]byte, error) {
	out, err := json.Marshal(tokenText{
		Text: t.Binding.Text(TokenType, tokenVersion), Endpoint: t.Server.Endpoint, CA: t.Server.CA,
		Certificate: t.Server.Certificate, Key: t.Server.Key, Sealed: t.Sealed, Half: t.Half, Wrapped: t.Wrapped,
	})
	if err != nil {
		return nil, fmt.Errorf("encode token: %w", err)
	}
	if len(out) > maxTokenBytes {
		return nil, fmt.Errorf("encode token: it has %d bytes, and a header has room for %d: give the key server's authority (%d bytes) and the node's certificate (%d) "+
			"without what is not needed of them", len(out), maxTokenBytes, len(t.Server.CA), len(t.Server.Certificate))
	}
	return out, nil
}

// ParseToken reads a token.
func ParseToken(data []byte) (Token, error) {
	if len(data) > maxTokenBytes {
		return Token{}, fmt.Errorf("parse token: it has %d bytes, expected %d at most", len(data), maxTokenBytes)
	}
	var text tokenText
	if err := wrap.Decode(data, &text); err != nil {
		return Token{}, fmt.Errorf("parse token: %w", err)
	}
	t, err := text.parse()
	if err != nil {
		return Token{}, fmt.Errorf("parse token: %w", err)
	}
	return t, nil
}

func (text tokenText) parse() (Token, error) {
	t := Token{
		Server: Server{Endpoint: text.Endpoint, CA: text.CA, Certificate: text.Certificate, Key: text.Key},
		Sealed: text.Sealed, Half: text.Half, Wrapped: text.Wrapped,
	}
	var err error
	if t.Binding, err = text.Text.Binding(TokenType, tokenVersion); err != nil {
		return t, err
	}
	if _, _, err := t.Server.address(); err != nil {
		return t, err
	}
	switch {
	case len(t.Sealed) == 0 || len(t.Sealed) > maxSealedBytes:
		return t, fmt.Errorf("what the server sealed has %d bytes, expected 1 to %d", len(t.Sealed), maxSealedBytes)
	case len(t.Half) != wrap.SecretBytes || len(t.Wrapped) != wrap.WrappedBytes:
		return t, fmt.Errorf("the other half and the wrapped key have %d and %d bytes, expected %d and %d", len(t.Half), len(t.Wrapped), wrap.SecretBytes, wrap.WrappedBytes)
	case (t.Server.Certificate == "") != (t.Server.Key == ""):
		return t, errors.New("it has one of the node's certificate and key, expected both or none")
	}
	return t, nil
}
