package sourcetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"net"
	"testing"
	"time"
)

// NewWeb is a web server that has one file, at the path. With secure it speaks https, under a certificate of no authority which is long past, as the
// clock of a machine may make of any.
func NewWeb(t *testing.T, path string, secure bool) *Server {
	s := newServer(t, only(path, 404))
	if secure {
		s.secure()
	}
	return s
}

// secure takes TLS from now on. Nobody may have asked before.
func (s *Server) secure() {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sourcetest"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(86400, 0), IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		s.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Certificate = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	address := s.listener.Addr().String()
	s.listener.Close()
	s.URL = "https://" + address
	s.listen(address)
}

// Key is the SHA-256 of the server's public key, in hexadecimal digits.
func (s *Server) Key() string {
	sum := sha256.Sum256(s.Certificate.Leaf.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}
