package config

import (
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

func (o *object) upgrade() Upgrade {
	u := Upgrade{Deadline: DefaultUpgradeDeadline}
	o.inner("upgrade", func(f *object) {
		f.text("deadline", "a duration from 1m to 1h, such as 10m or 2m30s", func(s string) bool {
			d, ok := parseDuration(s)
			if ok {
				u.Deadline = d
			}
			return ok && d >= MinUpgradeDeadline && d <= MaxUpgradeDeadline
		})
		f.list("gates", "a mapping with name, kind and target", func(node *yaml.Node, path string) {
			if g := o.d.object(node, path); g != nil {
				u.Gates = append(u.Gates, g.gate())
			}
		})
		f.list("sources", "a mapping with host and ca", func(node *yaml.Node, path string) {
			if s := o.d.object(node, path); s != nil {
				u.Sources = append(u.Sources, s.source())
			}
		})
		for i, g := range u.Gates {
			if g.Name != "" && slices.ContainsFunc(u.Gates[:i], func(other Gate) bool { return other.Name == g.Name }) {
				f.fail("gates", "gate %q is given twice, expected each name once", g.Name)
			}
		}
		if len(u.Gates) > MaxGates {
			f.fail("gates", "got %d gates, expected at most %d", len(u.Gates), MaxGates)
		}
		for i, s := range u.Sources {
			if s.Host != "" && slices.ContainsFunc(u.Sources[:i], func(other UpgradeSource) bool { return other.Host == s.Host }) {
				f.fail("sources", "host %q is given twice, expected each once", s.Host)
			}
		}
	})
	return u
}

// gateKinds are the kinds with the form of their targets.
func gateKinds() []struct {
	kind     GateKind
	expected string
	check    func(string) bool
} {
	return []struct {
		kind     GateKind
		expected string
		check    func(string) bool
	}{
		{GateHTTP, "a URL such as http://127.0.0.1:8080/healthz", isPlainURL},
		{GateTCP, "host:port such as 10.5.0.9:5432", isHostPort},
		{GateService, "namespace/name:port and a path, such as default/web:80/healthz", serviceForm.MatchString},
		{GateDeployment, "namespace/name such as default/web", objectForm.MatchString},
		{GateCondition, "the type of a condition such as Ready", conditionForm.MatchString},
	}
}

// gateKindNames are all values of the field kind.
func gateKindNames() []string {
	var names []string
	for _, k := range gateKinds() {
		names = append(names, string(k.kind))
	}
	return names
}

func (o *object) gate() Gate {
	g := Gate{Name: o.requiredText("name", "a name of letters, digits and dashes", hostLabel.MatchString)}
	expected, check := "what the kind looks at", func(s string) bool { return s != "" }
	g.Kind = GateKind(o.requiredText("kind", "http, tcp, service, deployment or condition", func(s string) bool {
		for _, k := range gateKinds() {
			if string(k.kind) == s {
				expected, check = k.expected, k.check
				return true
			}
		}
		return false
	}))
	g.Target = o.requiredText("target", expected, check)
	o.done()
	return g
}

func (o *object) source() UpgradeSource {
	s := UpgradeSource{
		Host: o.requiredText("host", "a host in lower case, with a port unless that is 443, such as registry.example:5000", isServer),
		CA:   o.secret("ca", "a PEM certificate of an authority (CA:TRUE)", isAuthority).Reveal(),
	}
	o.inner("credentials", func(f *object) {
		s.Credentials = &Credentials{
			Username: f.username(),
			Password: f.secret("password", "a password of printable characters, without spaces around it", isPassword),
		}
	})
	o.done()
	return s
}

// Forms of names of Kubernetes' API (kubernetes.io/docs/concepts/overview/working-with-objects/names). A port is a number or a name (RFC 6335), a
// path has no query.
const (
	kubeLabel = `[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?`
	kubeName  = kubeLabel + `(?:\.` + kubeLabel + `)*`
)

var (
	objectForm    = regexp.MustCompile(`^` + kubeLabel + `/` + kubeName + `$`)
	serviceForm   = regexp.MustCompile(`^` + kubeLabel + `/` + kubeLabel + `:(?:[0-9]{1,5}|` + kubeLabel + `)(?:/[A-Za-z0-9._~!$&'()*+,;=:@/-]*)?$`)
	conditionForm = regexp.MustCompile(`^(?:` + kubeName + `/)?[A-Za-z](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)
	// userForm follows RFC 7617: no colon, no control characters.
	userForm = regexp.MustCompile(`^[^:\x00-\x1f\x7f]{1,255}$`)
)

// username reads the name of an account. One with a colon is not shown: the password may stand behind it.
func (o *object) username() string {
	const name, expected = "username", "a name without a colon"
	text, ok := o.scalar(o.require(name, expected), name, expected)
	if ok && !userForm.MatchString(text) {
		o.fail(name, "got a text of %d bytes, expected %s", len(text), expected)
		return ""
	}
	return text
}

// isPassword wants what can be sent in a header, and was not cut out of its file with something around it.
func isPassword(s string) bool {
	return s != "" && s == strings.TrimSpace(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

func isPlainURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "http" && u.Hostname() != "" && u.User == nil && u.Fragment == "" && (u.Port() == "" || isPort(u.Port()))
}

func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	_, ok := parseSAN(host)
	return err == nil && ok && isPort(port)
}

func isServer(s string) bool {
	if _, ok := parseSAN(s); ok {
		return true
	}
	return isHostPort(s)
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}
