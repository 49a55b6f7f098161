package config

import (
	"bytes"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// The documents as Marshal writes them.
type (
	header struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string `yaml:"kind"`
	}
	machineDoc struct {
		header   `yaml:",inline"`
		Hostname string     `yaml:"hostname"`
		CertSANs []string   `yaml:"certSANs,omitempty"`
		Profile  string     `yaml:"profile,omitempty"`
		Disk     diskDoc    `yaml:"disk,omitempty"`
		Upgrade  upgradeDoc `yaml:"upgrade,omitempty"`
		Time     timeDoc    `yaml:"time,omitempty"`

		Extensions []extensionDoc `yaml:"extensions,omitempty"`

		CA pairDoc `yaml:"ca"`
	}
	extensionDoc struct {
		Name    string `yaml:"name"`
		Version string `yaml:"version"`
	}
	diskDoc struct {
		Encryption encryptionDoc `yaml:"encryption,omitempty"`
	}
	encryptionDoc struct {
		Mode string       `yaml:"mode,omitempty"`
		KMS  keyServerDoc `yaml:"kms,omitempty"`
	}
	keyServerDoc struct {
		Endpoint string  `yaml:"endpoint"`
		CA       string  `yaml:"ca"`
		Client   pairDoc `yaml:"client,omitempty"`
	}
	upgradeDoc struct {
		Deadline string      `yaml:"deadline,omitempty"`
		Gates    []gateDoc   `yaml:"gates,omitempty"`
		Sources  []sourceDoc `yaml:"sources,omitempty"`
	}
	gateDoc struct {
		Name   string `yaml:"name"`
		Kind   string `yaml:"kind"`
		Target string `yaml:"target"`
	}
	sourceDoc struct {
		Host        string         `yaml:"host"`
		CA          string         `yaml:"ca"`
		Credentials credentialsDoc `yaml:"credentials,omitempty"`
	}
	credentialsDoc struct {
		Username string `yaml:"username"`
		Password string `yaml:"password"`
	}
	timeDoc struct {
		Servers []string `yaml:"servers,omitempty"`
	}
	networkDoc struct {
		header      `yaml:",inline"`
		Nameservers []string  `yaml:"nameservers,omitempty"`
		Links       []linkDoc `yaml:"links"`
	}
	linkDoc struct {
		Name      string   `yaml:"name"`
		DHCP      bool     `yaml:"dhcp"`
		Addresses []string `yaml:"addresses,omitempty"`
		Gateway   string   `yaml:"gateway,omitempty"`
	}
	clusterDoc struct {
		header            `yaml:",inline"`
		Name              string   `yaml:"name"`
		Endpoint          string   `yaml:"endpoint"`
		Role              string   `yaml:"role"`
		PodCIDR           string   `yaml:"podCIDR,omitempty"`
		ServiceCIDR       string   `yaml:"serviceCIDR,omitempty"`
		DNSDomain         string   `yaml:"dnsDomain,omitempty"`
		CertSANs          []string `yaml:"certSANs,omitempty"`
		Volumes           string   `yaml:"volumes,omitempty"`
		CA                pairDoc  `yaml:"ca"`
		FrontProxyCA      pairDoc  `yaml:"frontProxyCA"`
		EtcdCA            pairDoc  `yaml:"etcdCA"`
		ServiceAccountKey string   `yaml:"serviceAccountKey"`
		EncryptionKey     string   `yaml:"encryptionKey"`
	}
	registriesDoc struct {
		header     `yaml:",inline"`
		CA         string        `yaml:"ca,omitempty"`
		Registries []registryDoc `yaml:"registries,omitempty"`
	}
	registryDoc struct {
		Name        string         `yaml:"name"`
		Mirrors     []string       `yaml:"mirrors,omitempty"`
		CA          string         `yaml:"ca,omitempty"`
		Credentials credentialsDoc `yaml:"credentials,omitempty"`
	}
	pairDoc struct {
		Certificate string `yaml:"certificate"`
		Key         string `yaml:"key"`
	}
)

// Marshal writes the documents of cfg, secrets included, and checks that Parse accepts them, but for kinds that it does not take yet. Fields at their zero value that have a
// default are left out; a Network without links is left out whole. The document that no configuration can do without comes last, and its
// key last in it: so whatever is cut off at the end, Parse refuses the rest.
func Marshal(cfg *Config) ([]byte, error) {
	var docs []any
	if r := cfg.Registries; r.CA != "" || len(r.Registries) > 0 {
		docs = append(docs, registries(r))
	}
	if cfg.Cluster != nil {
		docs = append(docs, cluster(cfg.Cluster))
	}
	if len(cfg.Network.Links) > 0 {
		docs = append(docs, network(cfg.Network))
	}
	docs = append(docs, storage(cfg)...)
	profile := string(cfg.Machine.Profile)
	if cfg.Machine.Profile == defaultProfile {
		profile = ""
	}
	var extensions []extensionDoc
	for _, e := range cfg.Machine.Extensions {
		extensions = append(extensions, extensionDoc(e))
	}
	docs = append(docs, machineDoc{
		header: header{APIVersion, "Machine"}, Hostname: cfg.Machine.Hostname, CertSANs: cfg.Machine.CertSANs, Profile: profile,
		Disk: disk(cfg.Machine.Disk), Upgrade: upgrade(cfg.Machine.Upgrade), Time: timeDoc{cfg.Machine.Time.Servers}, Extensions: extensions, CA: pair(cfg.Machine.CA),
	})
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	for _, doc := range docs {
		if err := enc.Encode(doc); err != nil {
			return nil, fmt.Errorf("encode configuration: %w", err)
		}
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("encode configuration: %w", err)
	}
	if _, err := Parse("configuration", out.Bytes()); err != nil {
		return nil, fmt.Errorf("check configuration: %w", err)
	}
	return out.Bytes(), nil
}

func pair(p KeyPair) pairDoc { return pairDoc{p.Certificate, p.Key.Reveal()} }

func disk(d Disk) diskDoc {
	var doc diskDoc
	e := &doc.Encryption
	if d.Encryption.Mode != defaultEncryption {
		e.Mode = string(d.Encryption.Mode)
	}
	if s := d.Encryption.KMS; s != nil {
		e.KMS = keyServerDoc{Endpoint: s.Endpoint, CA: s.CA}
		if s.Client != nil {
			e.KMS.Client = pair(*s.Client)
		}
	}
	return doc
}

func upgrade(u Upgrade) upgradeDoc {
	var doc upgradeDoc
	if u.Deadline != 0 && u.Deadline != DefaultUpgradeDeadline {
		doc.Deadline = durationText(u.Deadline)
	}
	for _, g := range u.Gates {
		doc.Gates = append(doc.Gates, gateDoc{g.Name, string(g.Kind), g.Target})
	}
	for _, s := range u.Sources {
		out := sourceDoc{Host: s.Host, CA: s.CA}
		if s.Credentials != nil {
			out.Credentials = credentialsDoc{s.Credentials.Username, s.Credentials.Password.Reveal()}
		}
		doc.Sources = append(doc.Sources, out)
	}
	return doc
}

func registries(r Registries) registriesDoc {
	doc := registriesDoc{header: header{APIVersion, "Registries"}, CA: r.CA}
	for _, e := range r.Registries {
		out := registryDoc{Name: e.Name, Mirrors: e.Mirrors, CA: e.CA}
		if e.Credentials != nil {
			out.Credentials = credentialsDoc{e.Credentials.Username, e.Credentials.Password.Reveal()}
		}
		doc.Registries = append(doc.Registries, out)
	}
	return doc
}

func network(n Network) networkDoc {
	doc := networkDoc{header: header{APIVersion, "Network"}}
	for _, a := range n.Nameservers {
		doc.Nameservers = append(doc.Nameservers, a.String())
	}
	for _, l := range n.Links {
		link := linkDoc{Name: l.Name, DHCP: l.DHCP}
		for _, p := range l.Addresses {
			link.Addresses = append(link.Addresses, p.String())
		}
		if l.Gateway.IsValid() {
			link.Gateway = l.Gateway.String()
		}
		doc.Links = append(doc.Links, link)
	}
	return doc
}

func cluster(c *Cluster) clusterDoc {
	doc := clusterDoc{
		header: header{APIVersion, "Cluster"}, Name: c.Name, Endpoint: c.Endpoint, Role: string(c.Role), DNSDomain: c.DNSDomain,
		CertSANs: c.CertSANs, CA: pair(c.CA), FrontProxyCA: pair(c.FrontProxyCA), EtcdCA: pair(c.EtcdCA),
		ServiceAccountKey: c.ServiceAccountKey.Reveal(), EncryptionKey: c.EncryptionKey.Reveal(),
	}
	if c.Volumes != defaultVolumes {
		doc.Volumes = string(c.Volumes)
	}
	if c.PodCIDR.IsValid() {
		doc.PodCIDR = c.PodCIDR.String()
	}
	if c.ServiceCIDR.IsValid() {
		doc.ServiceCIDR = c.ServiceCIDR.String()
	}
	return doc
}
