package config

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var hostLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// isHostname follows RFC 1123 section 2.1, at most 63 bytes since the kernel keeps 64 (HOST_NAME_MAX, limits.h).
func isHostname(s string) bool {
	if len(s) > 63 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !hostLabel.MatchString(label) {
			return false
		}
	}
	return true
}

func parseSAN(s string) (string, bool) {
	if _, err := netip.ParseAddr(s); err == nil {
		return s, true
	}
	return s, isHostname(s)
}

// interfaceName follows dev_valid_name of the kernel (net/core/dev.c): at most 15 bytes, no slash, colon or white space.
var interfaceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$`)

func isLinkName(s string) bool {
	if mac, err := net.ParseMAC(s); err == nil && len(mac) == 6 {
		return strings.Count(s, ":") == 5
	}
	return interfaceName.MatchString(s)
}

// durationPattern is the form of a duration: hours, minutes and seconds, each at most once and at least one of them. JSON Schema reads it as Go does.
const durationPattern = `^(?:[0-9]{1,4}h(?:[0-9]{1,4}m)?(?:[0-9]{1,5}s)?|[0-9]{1,4}m(?:[0-9]{1,5}s)?|[0-9]{1,5}s)$`

var durationForm = regexp.MustCompile(durationPattern)

func parseDuration(s string) (time.Duration, bool) {
	if !durationForm.MatchString(s) {
		return 0, false
	}
	d, err := time.ParseDuration(s)
	return d, err == nil
}

// durationText writes a duration of whole seconds in the shortest form that parseDuration reads.
func durationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// The names and versions of extensions are of the forms that package extension checks (semver.org 2.0, at most 64 bytes).
var (
	extensionName    = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$`)
	extensionVersion = regexp.MustCompile(`^(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){2}(-[0-9A-Za-z.-]{1,30})?(\+[0-9A-Za-z.-]{1,30})?$`)
)

func isEndpoint(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	if _, ok := parseSAN(u.Hostname()); !ok || (u.Path != "" && u.Path != "/") {
		return false
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && port > 0
}

func isKey32(s string) bool {
	b, err := base64.StdEncoding.DecodeString(s)
	return err == nil && len(b) == 32
}

func isAuthority(s string) bool {
	cert, err := parseCertificate(s)
	return err == nil && cert.IsCA
}

func isPrivateKey(s string) bool {
	_, err := parsePrivateKey(s)
	return err == nil
}

func keyMatches(pair KeyPair) bool {
	cert, err := parseCertificate(pair.Certificate)
	if err != nil {
		return false
	}
	key, err := parsePrivateKey(pair.Key.Reveal())
	if err != nil {
		return false
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(cert.PublicKey)
}

// onePEM returns the single block of s, which must hold nothing else.
func onePEM(s string) (*pem.Block, error) {
	block, rest := pem.Decode([]byte(s))
	if block == nil || strings.TrimSpace(string(rest)) != "" {
		return nil, errors.New("not one PEM block")
	}
	return block, nil
}

func parseCertificate(s string) (*x509.Certificate, error) {
	block, err := onePEM(s)
	if err != nil {
		return nil, err
	}
	if block.Type != "CERTIFICATE" {
		return nil, errors.New("not a certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}

// parsePrivateKey reads PKCS #8, SEC 1 and PKCS #1 keys.
func parsePrivateKey(s string) (crypto.Signer, error) {
	block, err := onePEM(s)
	if err != nil {
		return nil, err
	}
	var key any
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, errors.New("not a private key")
	}
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("not a signing key")
	}
	return signer, nil
}
