package main

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"time"

	"github.com/cyvive/cyvive/cmd/nodectl/contexts"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/pki"
)

const (
	adminName     = "admin"
	adminRole     = "node:admin"
	adminLifetime = 365 * 24 * time.Hour
	// encryptionKeyBytes is the key length of AES-256, as kube-apiserver's
	// secretbox and aescbc providers take it.
	encryptionKeyBytes = 32
)

// secrets is what a cluster is made of.
type secrets struct {
	api, kubernetes, frontProxy, etcd *pki.Authority
	serviceAccountKey                 []byte // PEM
	encryptionKey                     string // base64
}

func newSecrets(cluster string, now time.Time) (*secrets, error) {
	s := &secrets{}
	for _, authority := range []struct {
		to   **pki.Authority
		name string
	}{
		{&s.api, "node-api"}, {&s.kubernetes, "kubernetes"}, {&s.frontProxy, "front-proxy"}, {&s.etcd, "etcd"},
	} {
		made, err := pki.NewAuthority(cluster+" "+authority.name, now)
		if err != nil {
			return nil, err
		}
		*authority.to = made
	}
	var err error
	if s.serviceAccountKey, err = pki.NewKey(); err != nil {
		return nil, fmt.Errorf("make service account key: %w", err)
	}
	key := make([]byte, encryptionKeyBytes)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("make encryption key: %w", err)
	}
	s.encryptionKey = base64.StdEncoding.EncodeToString(key)
	return s, nil
}

// client makes a certificate for a client of the node API.
func (s *secrets) client(name string, roles []string, lifetime time.Duration, now time.Time) (pki.Pair, error) {
	return issueClient(s.api, name, roles, lifetime, now)
}

func issueClient(authority *pki.Authority, name string, roles []string, lifetime time.Duration, now time.Time) (pki.Pair, error) {
	return authority.Issue(pki.Request{CommonName: name, Organizations: roles, Client: true, Lifetime: lifetime}, now)
}

// contextOf makes a contexts file of one context.
func contextOf(name string, authority *pki.Authority, client pki.Pair, nodes []string) *contexts.File {
	return &contexts.File{
		Current: name,
		Contexts: map[string]*contexts.Context{name: {
			Nodes:       nodes,
			CA:          string(authority.CertificatePEM()),
			Certificate: string(client.CertificatePEM),
			Key:         string(client.KeyPEM),
		}},
	}
}

func keyPair(a *pki.Authority) config.KeyPair {
	return config.KeyPair{Certificate: string(a.CertificatePEM()), Key: config.NewSecret(string(a.KeyPEM()))}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
