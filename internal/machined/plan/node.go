package plan

import (
	"encoding/base64"
	"fmt"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/pki"
)

// Trust is the authorities of a configuration, read from PEM once. The cluster's are nil on a node without one.
type Trust struct {
	API, Kubernetes, FrontProxy, Etcd *pki.Authority
	// ServiceAccountKey is PEM; EncryptionKey is 32 bytes.
	ServiceAccountKey, EncryptionKey pki.Secret
}

// ReadTrust reads the authorities of a configuration. config.Parse has checked them; an error here means that the two disagree.
func ReadTrust(cfg *config.Config) (*Trust, error) {
	var err error
	read := func(what string, pair config.KeyPair) *pki.Authority {
		authority, parseErr := pki.ParseAuthority([]byte(pair.Certificate), []byte(pair.Key.Reveal()))
		if parseErr != nil && err == nil {
			err = fmt.Errorf("read authority %s: %w", what, parseErr)
		}
		return authority
	}
	t := &Trust{API: read("Machine.ca", cfg.Machine.CA)}
	if c := cfg.Cluster; c != nil {
		t.Kubernetes = read("Cluster.ca", c.CA)
		t.FrontProxy = read("Cluster.frontProxyCA", c.FrontProxyCA)
		t.Etcd = read("Cluster.etcdCA", c.EtcdCA)
		t.ServiceAccountKey = pki.Secret(c.ServiceAccountKey.Reveal())
		key, decodeErr := base64.StdEncoding.DecodeString(c.EncryptionKey.Reveal())
		if decodeErr != nil && err == nil {
			err = fmt.Errorf("read Cluster.encryptionKey: not base64")
		}
		t.EncryptionKey = key
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}
