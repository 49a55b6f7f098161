package config

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Registries is where the images of pods come from.
type Registries struct {
	// CA are authorities by which all registries and mirrors are known, besides the public ones: PEM, one behind the other. Empty is none.
	CA string
	// Registries are those of which there is more to say than their name; no name is there twice.
	Registries []Registry
}

// AnyRegistry, as the name of a registry, stands for each that is not in the list.
const AnyRegistry = "*"

// Registry is a server of images. What is said of its certificate and its account holds for it as a mirror of others, too.
type Registry struct {
	// Name is AnyRegistry, or the registry's as images have it: a host, with its port if the images have one.
	Name string
	// Mirrors are URLs, https, of servers that are asked before it, in this order.
	Mirrors []string
	// CA are authorities by which it is known besides: PEM, one behind the other. Empty is none.
	CA string
	// Credentials are nil for a server that is to be shown none.
	Credentials *Credentials
}

func (o *object) registries() Registries {
	r := Registries{CA: o.authorities("ca")}
	o.list("registries", "a mapping with name", func(node *yaml.Node, path string) {
		if f := o.d.object(node, path); f != nil {
			r.Registries = append(r.Registries, f.registry())
		}
	})
	if len(r.Registries) > MaxRegistries {
		o.fail("registries", "got %d registries, expected at most %d", len(r.Registries), MaxRegistries)
	}
	for i, e := range r.Registries {
		if e.Name != "" && slices.ContainsFunc(r.Registries[:i], func(other Registry) bool { return other.Name == e.Name }) {
			o.fail("registries", "registry %q is given twice, expected each name once", e.Name)
		}
	}
	return r
}

func (o *object) registry() Registry {
	const mirror = "a URL with https, such as https://mirror.example:5000, that is given once"
	r := Registry{
		Name: o.requiredText("name", "a host in lower case, with a port if the images have one, such as docker.io or registry.example:5000, or * for any other", isRegistry),
		CA:   o.authorities("ca"),
	}
	seen := map[string]bool{}
	r.Mirrors = texts(o, "mirrors", mirror, func(s string) (string, bool) {
		again := seen[s]
		seen[s] = true
		return s, !again && isMirror(s)
	})
	if len(r.Mirrors) > MaxMirrors {
		o.fail("mirrors", "got %d mirrors, expected at most %d", len(r.Mirrors), MaxMirrors)
	}
	o.inner("credentials", func(f *object) {
		r.Credentials = &Credentials{
			Username: f.username(),
			Password: f.secret("password", "a password of printable characters, at most 8 KiB and without spaces around it", isAccountPassword),
		}
	})
	if r.Name == AnyRegistry && r.CA != "" {
		o.fail("ca", "cannot be given for %q, expected it one level up, where it is for all registries", AnyRegistry)
	}
	if r.Name == AnyRegistry && r.Credentials != nil {
		o.fail("credentials", "cannot be given for %q, expected them with the registry or mirror that they are for", AnyRegistry)
	}
	o.done()
	return r
}

// authorities reads PEM certificates that may be left out.
func (o *object) authorities(name string) string {
	return o.text(name, "PEM certificates of one or more authorities (CA:TRUE), and nothing else", areAuthorities)
}

// maxPasswordBytes is far above the tokens of clouds. With each mirror of each registry the password of the mirror is written once more, and all of it has to
// have room in the workload plane's file system for it (package kube).
const maxPasswordBytes = 8 << 10

func isAccountPassword(s string) bool { return len(s) <= maxPasswordBytes && isPassword(s) }

func isRegistry(s string) bool { return s == AnyRegistry || isImageHost(s) }

// isImageHost takes what the name of an image may begin with, in lower case: a host name, an IPv4 address or an IPv6 one in brackets, and a port.
func isImageHost(s string) bool {
	u, err := url.Parse("https://" + s)
	if err != nil || u.Host != s || strings.HasSuffix(s, ":") {
		return false
	}
	_, ok := parseSAN(u.Hostname())
	return ok && strings.Contains(u.Hostname(), ":") == strings.HasPrefix(s, "[") && (u.Port() == "" || isPort(u.Port()))
}

// mirrorPath is what the API of the distribution specification may lie below.
var mirrorPath = regexp.MustCompile(`^(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*/?$`)

func isMirror(s string) bool {
	u, err := url.Parse(s)
	return err == nil && strings.HasPrefix(s, "https://") && u.User == nil && isImageHost(u.Host) && mirrorPath.MatchString(u.Path) && s == "https://"+u.Host+u.Path
}
