package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestRegistryNames(t *testing.T) {
	for name, want := range map[string]bool{
		"docker.io": true, "registry.example:5000": true, "localhost:5000": true, "10.5.0.9": true, "10.5.0.9:5000": true, "[fd00::5]:5000": true, "[fd00::5]": true, "*": true,
		"": false, "Docker.io": false, "https://docker.io": false, "docker.io/library": false, "docker.io:": false, "docker.io:0": false, "docker.io:https": false,
		"fd00::5": false, "[10.5.0.9]": false, "user@docker.io": false, "..": false, "_default": false, "*.example": false, "a b": false, "docker.io?x": false, "docker.io#": false,
	} {
		if got := isRegistry(name); got != want {
			t.Errorf("%q: got %t", name, got)
		}
	}
}

// TestMirrorURLs: they are written into a file of another program as they are.
func TestMirrorURLs(t *testing.T) {
	for name, want := range map[string]bool{
		"https://mirror.example": true, "https://mirror.example:5000/": true, "https://10.5.0.9:5000/v2/hub": true, "https://[fd00::5]:5000/a/b.c_d-e/": true,
		"": false, "https://": false, "http://mirror.example": false, "mirror.example": false, "HTTPS://mirror.example": false, "https://Mirror.example": false,
		"https://a:b@mirror.example": false, "https://mirror.example?x": false, "https://mirror.example/?": false, "https://mirror.example/#": false,
		"https://mirror.example/..": false, "https://mirror.example//a": false, "https://mirror.example/%61": false, "https://mirror.example/a b": false,
		"https://mirror.example/\"": false, "https://mirror.example/\n": false, "https://mirror.example:70000": false,
	} {
		if got := isMirror(name); got != want {
			t.Errorf("%q: got %t", name, got)
		}
	}
}

// TestManyRegistries: what is asked one behind the other, and looked through at each pull, has an end.
func TestManyRegistries(t *testing.T) {
	head := "apiVersion: cyvive.dev/v1alpha1\nkind: Registries\nregistries:\n"
	for n, good := range map[int]bool{MaxRegistries: true, MaxRegistries + 1: false} {
		doc := head
		for i := range n {
			doc += fmt.Sprintf("  - name: r%d.example\n", i)
		}
		if named := names(doc, "Registries.registries"); named == good {
			t.Errorf("%d registries: named %t", n, named)
		}
	}
	for n, good := range map[int]bool{MaxMirrors: true, MaxMirrors + 1: false} {
		doc := head + "  - name: docker.io\n    mirrors:\n"
		for i := range n {
			doc += fmt.Sprintf("      - https://m%d.example\n", i)
		}
		if named := names(doc, "Registries.registries[0].mirrors"); named == good {
			t.Errorf("%d mirrors: named %t", n, named)
		}
	}
}

// TestLongPassword: each mirror's is written with each registry, and all of it has to have room.
func TestLongPassword(t *testing.T) {
	for n, good := range map[int]bool{maxPasswordBytes: true, maxPasswordBytes + 1: false} {
		doc := "apiVersion: cyvive.dev/v1alpha1\nkind: Registries\nregistries: [{name: docker.io, credentials: {username: node, password: " + strings.Repeat("x", n) + "}}]\n"
		if named := names(doc, "Registries.registries[0].credentials.password"); named == good {
			t.Errorf("%d bytes: named %t", n, named)
		}
	}
}

// names tells whether Parse names a field in a mistake.
func names(doc, field string) bool {
	_, err := Parse("user-data", []byte(doc))
	return strings.Contains(fmt.Sprint(err), field+":")
}

// TestPasswordStaysWithItsRegistry: what was shown as redacted comes back to the same server, known by the same authorities, wherever it is in the list.
func TestPasswordStaysWithItsRegistry(t *testing.T) {
	const stored = "kind: Registries\nregistries:\n  - {name: a.example, ca: x, credentials: {username: node, password: hunter2}}\n  - {name: b.example}\n"
	for name, test := range map[string]struct {
		given string
		back  bool
	}{
		"moved, with a mirror":  {"  - {name: b.example}\n  - {name: a.example, mirrors: [https://b.example], ca: x, credentials: {username: node, password: '[redacted]'}}\n", true},
		"to another host":       {"  - {name: b.example, ca: x, credentials: {username: node, password: '[redacted]'}}\n", false},
		"for another authority": {"  - {name: a.example, ca: y, credentials: {username: node, password: '[redacted]'}}\n", false},
	} {
		got, err := Restore([]byte("kind: Registries\nregistries:\n"+test.given), []byte(stored))
		if err != nil {
			t.Fatal(err)
		}
		if back := strings.Contains(string(got), "hunter2"); back != test.back {
			t.Errorf("%s: the password came back: %t", name, back)
		}
	}
}
