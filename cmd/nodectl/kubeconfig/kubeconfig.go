package kubeconfig

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ErrNotFound is returned by Remove where neither a cluster nor a context has the
// name of the cluster.
var ErrNotFound = errors.New("not in the kubeconfig")

// lists are the three parts of a kubeconfig, each a list of named entries.
func lists() []string { return []string{"clusters", "users", "contexts"} }

// Path is the file that kubectl uses: of $KUBECONFIG's list the first that
// exists, else its first; without it ~/.kube/config. Getenv is os.Getenv.
func Path(getenv func(string) string) (string, error) {
	var first string
	for _, path := range filepath.SplitList(getenv("KUBECONFIG")) {
		if path == "" {
			continue
		}
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
		if first == "" {
			first = path
		}
	}
	if first != "" {
		return first, nil
	}
	home := getenv("HOME")
	if home == "" {
		return "", errors.New("find kubeconfig: neither KUBECONFIG nor HOME is set")
	}
	return filepath.Join(home, ".kube", "config"), nil
}

// Merge puts the clusters, users and contexts of fresh in place of those of
// the same names in existing, or beside them, and makes its current context
// the current one. Existing may be empty.
func Merge(existing, fresh []byte) ([]byte, error) {
	from, err := parse(fresh)
	if err != nil {
		return nil, fmt.Errorf("read the new kubeconfig: %w", err)
	}
	for _, key := range lists() {
		if list := value(from, key); list != nil {
			list.Style &^= yaml.FlowStyle
		}
	}
	into, err := parse(existing)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	if len(into.Content) == 0 {
		return encode(from)
	}
	for _, key := range lists() {
		added := value(from, key)
		if added == nil {
			continue
		}
		list := value(into, key)
		if list == nil || list.Kind != yaml.SequenceNode {
			set(into, key, added)
			continue
		}
		for _, entry := range added.Content {
			put(list, entry)
		}
	}
	if current := value(from, "current-context"); current != nil {
		set(into, "current-context", current)
	}
	return encode(into)
}

// Remove takes out the cluster of that name, the contexts that lead to it, and
// the users that only these contexts name. If the current context is one of
// them, there is none afterwards.
func Remove(existing []byte, cluster string) ([]byte, error) {
	from, err := parse(existing)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	doomed, kept := map[string]bool{}, map[string]bool{}
	contexts := drop(value(from, "contexts"), func(entry *yaml.Node) bool {
		user := field(entry, "context", "user")
		if field(entry, "context", "cluster") != cluster {
			kept[user] = true
			return false
		}
		doomed[user] = true
		return true
	})
	clusters := drop(value(from, "clusters"), func(entry *yaml.Node) bool { return nameOf(entry) == cluster })
	drop(value(from, "users"), func(entry *yaml.Node) bool { return doomed[nameOf(entry)] && !kept[nameOf(entry)] })
	if len(clusters)+len(contexts) == 0 {
		return nil, fmt.Errorf("remove %q: %w", cluster, ErrNotFound)
	}
	if current := value(from, "current-context"); current != nil && slices.Contains(contexts, current.Value) {
		current.SetString("")
	}
	return encode(from)
}

// drop takes the entries that are doomed out of a list, which may be nil, and
// returns their names.
func drop(list *yaml.Node, doomed func(entry *yaml.Node) bool) (names []string) {
	if list == nil {
		return nil
	}
	list.Content = slices.DeleteFunc(list.Content, func(entry *yaml.Node) bool {
		if !doomed(entry) {
			return false
		}
		names = append(names, nameOf(entry))
		return true
	})
	if len(list.Content) == 0 {
		list.Style |= yaml.FlowStyle
	}
	return names
}

// field returns the text at key and name of an entry, such as a context's
// cluster.
func field(entry *yaml.Node, key, name string) string {
	if inner := value(entry, key); inner != nil {
		if v := value(inner, name); v != nil {
			return v.Value
		}
	}
	return ""
}

// parse returns the mapping at the top; an empty one for an empty text.
func parse(data []byte) (*yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return &yaml.Node{Kind: yaml.MappingNode}, nil
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, errors.New("not a mapping")
	}
	if kind := value(top, "kind"); kind != nil && kind.Value != "Config" {
		return nil, fmt.Errorf("kind is %q, expected Config", kind.Value)
	}
	return top, nil
}

func encode(top *yaml.Node) ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(top), e.Close()); err != nil {
		return nil, fmt.Errorf("encode kubeconfig: %w", err)
	}
	return b.Bytes(), nil
}

// value returns what a mapping has under key, or nil.
func value(m *yaml.Node, key string) *yaml.Node {
	if m.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i+1]
		}
	}
	return nil
}

func set(m *yaml.Node, key string, v *yaml.Node) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			m.Content[i+1] = v
			return
		}
	}
	k := &yaml.Node{}
	k.SetString(key)
	m.Content = append(m.Content, k, v)
}

// put replaces the entry of the same name, or appends.
func put(list, entry *yaml.Node) {
	list.Style &^= yaml.FlowStyle
	for i, have := range list.Content {
		if nameOf(have) == nameOf(entry) {
			list.Content[i] = entry
			return
		}
	}
	list.Content = append(list.Content, entry)
}

func nameOf(entry *yaml.Node) string {
	if n := value(entry, "name"); n != nil {
		return n.Value
	}
	return ""
}
