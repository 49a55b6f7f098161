package config

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Parse decodes and validates the documents in data. The name is the file's, for error texts. The error, if any, is of type [Errors] and
// holds every mistake that was found; there is no partial result.
func Parse(name string, data []byte) (*Config, error) { return ParseSealed(name, data, nil) }

// ParseSealed is Parse for documents whose secrets may be sealed: what open makes of those is in the Config, and nowhere else. Without open they are mistakes.
func ParseSealed(name string, data []byte, open Opener) (*Config, error) {
	d := &decoder{file: name, open: open}
	if len(data) > MaxBytes {
		d.fail(0, "", "got %d bytes, expected at most %d", len(data), MaxBytes)
		return nil, d.errs
	}
	cfg := &Config{Network: DefaultNetwork()}
	seen, sealed := map[string]int{}, HoldsSealed(data)
	stream := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		err := stream.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			line, problem := syntaxError(err)
			d.fail(line, "", "%s, expected YAML", problem)
			d.unsure = true
			break
		}
		if len(doc.Content) != 1 || isNull(doc.Content[0]) {
			continue
		}
		if sealed {
			d.unseal(doc.Content[0])
		}
		d.document(cfg, doc.Content[0], seen)
	}
	d.apart(cfg)
	if seen["Machine"] == 0 && !d.unsure {
		d.fail(0, "", "no document of kind Machine, expected exactly one")
	}
	if !d.unsure {
		d.storage.check()
	}
	d.storage.into(cfg)
	if len(d.errs) > 0 {
		slices.SortStableFunc(d.errs, func(a, b *Error) int { return a.Line - b.Line })
		return nil, d.errs
	}
	return cfg, nil
}

// document reads one document into cfg.
func (d *decoder) document(cfg *Config, node *yaml.Node, seen map[string]int) {
	o := d.object(node, kindOf(node))
	if o == nil {
		d.unsure = true
		return
	}
	version := o.requiredText("apiVersion", APIVersion, func(s string) bool { return s == APIVersion })
	kind := o.requiredText("kind", kinds(), isKind)
	if version == "" || kind == "" {
		d.unsure = true
		return
	}
	what := "of this kind"
	if isMany(kind) {
		what = "of this kind and name"
	}
	if first := seen[titleOf(node)]; first != 0 {
		d.fail(node.Line, kind, "second document %s, expected only the one on line %d", what, first)
		return
	}
	seen[titleOf(node)] = node.Line
	switch kind {
	case "Machine":
		cfg.Machine = o.machine()
	case "Network":
		cfg.Network, d.network = o.network(), o
	case "Cluster":
		cfg.Cluster = o.cluster()
	case "Registries":
		cfg.Registries = o.registries()
	case "Pool":
		d.storage.pools = append(d.storage.pools, read[Pool]{o, o.pool()})
	case "Dataset":
		d.storage.datasets = append(d.storage.datasets, read[Dataset]{o, o.dataset()})
	case "SnapshotSchedule":
		d.storage.schedules = append(d.storage.schedules, read[SnapshotSchedule]{o, o.snapshotSchedule()})
	case "ReplicationJob":
		d.storage.jobs = append(d.storage.jobs, read[ReplicationJob]{o, o.replicationJob()})
	}
	o.done()
}

// apart refuses addresses of the node that are the cluster's to give to pods and services.
func (d *decoder) apart(cfg *Config) {
	if d.network == nil || cfg.Cluster == nil {
		return
	}
	const expected = "link %q has the address %s, which is in the %s %s of the cluster, expected an address outside of it"
	for _, l := range cfg.Network.Links {
		for _, a := range l.Addresses {
			switch address := a.Addr().Unmap(); {
			case cfg.Cluster.PodCIDR.Contains(address):
				d.network.fail("links", expected, l.Name, a, "podCIDR", cfg.Cluster.PodCIDR)
			case cfg.Cluster.ServiceCIDR.Contains(address):
				d.network.fail("links", expected, l.Name, a, "serviceCIDR", cfg.Cluster.ServiceCIDR)
			}
		}
	}
}

var (
	syntaxLine  = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)
	quotedPiece = regexp.MustCompile(`'[^']*'|"[^"]*"|` + "`[^`]*`")
)

// syntaxError takes the line out of a YAML syntax error, and out of its text every quoted piece of the input.
func syntaxError(err error) (int, string) {
	text := err.Error()
	line := 0
	if m := syntaxLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	text, _, _ = strings.Cut(text, "\n")
	return line, quotedPiece.ReplaceAllString(text, "(text)")
}

func (o *object) machine() Machine {
	return Machine{
		Hostname: o.requiredText("hostname", "a host name in lower case (RFC 1123)", isHostname),
		CA:       o.keyPair("ca"),
		CertSANs: texts(o, "certSANs", "a DNS name or an IP address", parseSAN),
		Profile:  o.profile(),
		Disk:     o.disk(),
		Upgrade:  o.upgrade(),
		Time:     o.time(),

		Extensions: o.extensions(),
	}
}

func (o *object) extensions() []Extension {
	var out []Extension
	o.list("extensions", "a mapping with name and version", func(node *yaml.Node, path string) {
		e := o.d.object(node, path)
		if e == nil {
			return
		}
		out = append(out, Extension{
			Name:    e.requiredText("name", "the name of an extension: lower-case letters, digits and dashes", extensionName.MatchString),
			Version: e.requiredText("version", "a version such as 1.2.3", extensionVersion.MatchString),
		})
		e.done()
	})
	if len(out) > MaxExtensions {
		o.fail("extensions", "got %d extensions, expected at most %d", len(out), MaxExtensions)
		return nil
	}
	for i, e := range out {
		for _, other := range out[:i] {
			if e.Name != "" && other.Name == e.Name {
				o.fail("extensions", "extension %q is given twice, expected each name once", e.Name)
			}
		}
	}
	return out
}

func (o *object) time() Time {
	var t Time
	o.inner("time", func(f *object) {
		t.Servers = texts(f, "servers", "a DNS name or an IP address", parseSAN)
		if len(t.Servers) > MaxTimeServers {
			f.fail("servers", "got %d servers, expected at most %d", len(t.Servers), MaxTimeServers)
		}
	})
	return t
}

// inner reads a mapping that may be left out.
func (o *object) inner(name string, read func(*object)) {
	node := o.take(name)
	if node == nil {
		return
	}
	f := o.d.object(node, o.field(name))
	if f == nil {
		return
	}
	read(f)
	f.done()
}

func (o *object) volumes() VolumeMaker {
	text := o.text("volumes", "none or zfs", func(s string) bool { return s == string(VolumesNone) || s == string(VolumesZFS) })
	if text == "" {
		return defaultVolumes
	}
	return VolumeMaker(text)
}

func (o *object) profile() Profile {
	text := o.text("profile", "standard or strict", func(s string) bool {
		return s == string(ProfileStandard) || s == string(ProfileStrict)
	})
	if text == "" {
		return defaultProfile
	}
	return Profile(text)
}

func (o *object) network() Network {
	var n Network
	o.list("links", "a mapping with name", func(node *yaml.Node, path string) {
		link := o.d.object(node, path)
		if link == nil {
			return
		}
		n.Links = append(n.Links, link.link())
		link.done()
	})
	if o.take("links") == nil {
		n.Links = DefaultNetwork().Links
	}
	for i, l := range n.Links {
		for _, other := range n.Links[:i] {
			if l.Name != "" && other.Name == l.Name {
				o.fail("links", "link %q is given twice, expected each name once", l.Name)
			}
		}
	}
	n.Nameservers = texts(o, "nameservers", "an IP address", func(s string) (netip.Addr, bool) {
		a, err := netip.ParseAddr(s)
		return a, err == nil
	})
	return n
}

func (o *object) link() Link {
	const name = "first, an interface name or a MAC address such as 52:54:00:12:34:56"
	l := Link{
		Name: strings.ToLower(o.requiredText("name", name, isLinkName)),
		DHCP: o.boolean("dhcp"),
		Addresses: texts(o, "addresses", "an address with prefix length such as 10.5.0.2/24", func(s string) (netip.Prefix, bool) {
			p, err := netip.ParsePrefix(s)
			return p, err == nil
		}),
	}
	o.text("gateway", "an IP address", func(s string) bool {
		a, err := netip.ParseAddr(s)
		l.Gateway = a
		return err == nil
	})
	if o.values["dhcp"] == nil && o.values["addresses"] == nil {
		l.DHCP = true
	}
	return l
}

func (o *object) cluster() *Cluster {
	c := &Cluster{
		Name:     o.requiredText("name", "a name of letters, digits and dashes", isHostname),
		Endpoint: o.requiredText("endpoint", "a URL such as https://10.5.0.2:6443", isEndpoint),
	}
	role := o.requiredText("role", "controlplane (nodes of role worker come with a later version)", func(s string) bool {
		return s == string(RoleControlPlane)
	})
	c.Role = Role(role)
	c.PodCIDR = o.network4("podCIDR", "an IPv4 network between /8 and /24 such as 10.244.0.0/16", defaultPodCIDR, 8, 24)
	c.ServiceCIDR = o.network4("serviceCIDR", "an IPv4 network between /8 and /28 such as 10.96.0.0/12", defaultServiceCIDR, 8, 28)
	if c.PodCIDR.IsValid() && c.ServiceCIDR.IsValid() && c.PodCIDR.Overlaps(c.ServiceCIDR) {
		o.fail("serviceCIDR", "%s overlaps the podCIDR %s, expected networks apart from each other", c.ServiceCIDR, c.PodCIDR)
	}
	c.DNSDomain = o.text("dnsDomain", "a DNS domain such as cluster.local", isHostname)
	if o.values["dnsDomain"] == nil {
		c.DNSDomain = defaultDNSDomain
	}
	c.CertSANs = texts(o, "certSANs", "a DNS name or an IP address", parseSAN)
	c.Volumes = o.volumes()
	c.CA = o.keyPair("ca")
	c.FrontProxyCA = o.keyPair("frontProxyCA")
	c.EtcdCA = o.keyPair("etcdCA")
	c.ServiceAccountKey = o.secret("serviceAccountKey", "a PEM private key", isPrivateKey)
	c.EncryptionKey = o.secret("encryptionKey", "the base64 form of 32 bytes", isKey32)
	return c
}

// network4 reads an IPv4 network without host bits.
func (o *object) network4(name, expected string, fallback netip.Prefix, min, max int) netip.Prefix {
	var out netip.Prefix
	o.text(name, expected, func(s string) bool {
		p, err := netip.ParsePrefix(s)
		if err != nil || !p.Addr().Is4() || p != p.Masked() || p.Bits() < min || p.Bits() > max {
			return false
		}
		out = p
		return true
	})
	if o.values[name] == nil || isNull(o.values[name]) {
		return fallback
	}
	return out
}

// secret reads a required text whose value appears in no mistake. A certificate is read so too, since the key may stand in its place.
func (o *object) secret(name, expected string, check func(string) bool) Secret {
	text, ok := o.scalar(o.require(name, expected), name, expected)
	if !ok {
		return Secret{}
	}
	switch {
	case text == redacted:
		o.fail(name, "got %q, and the node has no secret to put here (it keeps one only where all else around it is as it was), expected %s", redacted, expected)
		return Secret{}
	case isSealed(text):
		o.fail(name, "got a sealed text, which nothing opens here, expected %s", expected)
		return Secret{}
	case !check(text):
		o.fail(name, "got a text that is none (it is not shown), expected %s", expected)
		return Secret{}
	}
	return NewSecret(text)
}

// keyPair reads a required authority {certificate, key}.
func (o *object) keyPair(name string) KeyPair {
	node := o.require(name, "a mapping with certificate and key")
	if node == nil {
		return KeyPair{}
	}
	p := o.d.object(node, o.field(name))
	if p == nil {
		return KeyPair{}
	}
	pair := KeyPair{
		Certificate: p.secret("certificate", "a PEM certificate of an authority (CA:TRUE)", isAuthority).Reveal(),
		Key:         p.secret("key", "a PEM private key", isPrivateKey),
	}
	p.done()
	if pair.Certificate != "" && !pair.Key.IsZero() && !keyMatches(pair) {
		p.fail("key", "does not belong to the certificate, expected its private key")
	}
	return pair
}
