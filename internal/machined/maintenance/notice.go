package maintenance

import (
	"net/netip"
	"strings"
	"unicode"

	"github.com/cyvive/cyvive/internal/pki"
)

// Notice is what a person in front of the machine needs to know.
type Notice struct {
	Mode Mode
	// Reason is why the node has no configuration.
	Reason string
	// Shut is why the state volume, which is encrypted, does not open; empty if that is not what keeps the node from its configuration.
	Shut string
	// Addresses are those at which the API can be reached.
	Addresses []netip.Addr
	// Fingerprint is that of the node's key; InMemory says that a restart changes it.
	Fingerprint pki.Fingerprint
	InMemory    bool
	// Medium says that the node runs from an installation medium, where it takes no configuration for itself.
	Medium bool
	Owner  Owner
}

const (
	rule = "----------------------------------------------------------------------"
	// maxReasonLines is for errors of configurations, which may have many lines: they are in the log and in the health too.
	maxReasonLines = 5
	maxLineRunes   = 300
)

// Lines are the block that the console shows; none outside of maintenance mode. No line has control characters, whatever the places said.
func (n Notice) Lines() []string {
	if !n.Mode.Maintenance() {
		return nil
	}
	lines := []string{rule, "MAINTENANCE MODE: this node has no configuration"}
	add := func(name string, values ...string) {
		for _, v := range values {
			lines = append(lines, "  "+name+strings.Repeat(" ", max(1, 13-len(name)))+clean(v))
			name = ""
		}
	}
	reason := strings.Split(strings.TrimSpace(n.Reason), "\n")
	if len(reason) > maxReasonLines {
		reason = append(reason[:maxReasonLines:maxReasonLines], "and more, which the log has")
	}
	add("reason", reason...)
	if n.Shut != "" {
		add("state volume", n.Shut)
	}
	add("address", n.addresses()...)
	add("fingerprint", n.Fingerprint.String())
	if n.InMemory {
		add("", "(of a key in memory: the state volume, on which it is kept, is not there yet, and a restart changes it)")
	}
	switch n.Mode {
	case Owned:
		add("owner", n.Owner.Key.String(), "("+n.Owner.From+")")
	case Closed:
		add("owner", "not known: "+n.Owner.Problem)
	default:
		add("owner", "none")
	}
	for _, c := range n.Owner.Conflicts {
		add("not followed", c)
	}
	add("next", n.next()...)
	return append(lines, rule)
}

func (n Notice) addresses() []string {
	var out []string
	for _, a := range n.Addresses {
		out = append(out, a.String())
	}
	if out == nil {
		return []string{"none yet"}
	}
	return out
}

// next is what to type, or to do.
func (n Notice) next() []string {
	address := "ADDRESS"
	if len(n.Addresses) > 0 {
		address = n.Addresses[0].String()
	}
	reach := []string{"  --maintenance --nodes " + address + " \\", "  --fingerprint " + n.Fingerprint.String()}
	switch n.Mode {
	case Owned:
		if n.Shut != "" {
			return append([]string{
				"mend what keeps the state volume shut, or open it, since the configuration is on it:", `nodectl disk recover state \`,
			}, reach...)
		}
		if n.Medium {
			return append([]string{`nodectl inventory (which disks there are), and then`, `nodectl install --disk-serial … --config FILE \`}, reach...)
		}
		return append([]string{`nodectl config apply FILE \`}, reach...)
	case Closed:
		return []string{"mend what the owner is not known for; until then the node answers nobody"}
	default:
		return append([]string{
			"give the node an owner's key (nodectl owner new) or a configuration;", "nobody can configure it over the network before. What it is made of:",
			`nodectl inventory \`,
		}, reach...)
	}
}

// clean keeps a text on its line.
func clean(text string) string {
	runes := []rune(text)
	if len(runes) > maxLineRunes {
		runes = append(runes[:maxLineRunes:maxLineRunes], '…')
	}
	for i, r := range runes {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			runes[i] = '?'
		}
	}
	return string(runes)
}
