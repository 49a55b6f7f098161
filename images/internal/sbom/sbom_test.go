package sbom

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdxlib"
)

func sample() Image {
	return Image{
		Name: "cyvive", Version: "1", Arch: "amd64", At: time.Unix(1, 0),
		Contains: []Component{
			{ID: "deb-libc6", Name: "libc6", Version: "2.41-12+deb13u4", PURL: "pkg:deb/debian/libc6@2.41", SHA256: strings.Repeat("a", 64), LicenseNote: "LGPL-2.1+"},
			{ID: "program-etcd", Name: "etcd", Version: "v3", PURL: "pkg:generic/etcd@v3", DependsOn: []string{"go-a.b/c_d-v1"}},
		},
		Linked: []Component{{ID: "go-a.b/c_d-v1", Name: "a.b/c_d", Version: "v1", PURL: "pkg:golang/a.b/c_d@v1", License: "MIT"}},
	}
}

func TestDocument(t *testing.T) {
	var one, two bytes.Buffer
	for _, b := range []*bytes.Buffer{&one, &two} {
		if err := Write(Document(sample()), b); err != nil {
			t.Fatal(err)
		}
	}
	if one.String() != two.String() {
		t.Error("the same image gives two documents")
	}
	var doc spdx.Document
	if err := json.ReadInto(&one, &doc); err != nil {
		t.Fatal(err)
	}
	if err := spdxlib.ValidateDocument(&doc); err != nil {
		t.Errorf("document is not valid: %v", err)
	}
	if len(doc.Packages) != 4 || len(doc.Relationships) != 4 {
		t.Errorf("document has %d packages and %d relationships, want 4 and 4", len(doc.Packages), len(doc.Relationships))
	}
	other := sample()
	other.Contains[0].Version = "3"
	if Document(other).DocumentNamespace == doc.DocumentNamespace {
		t.Error("two contents have one namespace")
	}
}

func TestModules(t *testing.T) {
	info, err := debug.ParseBuildInfo("go\tgo1.26.6\npath\tetcd\nmod\tgo.etcd.io/etcd/server/v3\tv3.7.3\th1:x\n" +
		"dep\tgolang.org/x/net\tv0.1.0\n=>\tgolang.org/x/net\tv0.2.0\th1:y\n")
	if err != nil {
		t.Fatal(err)
	}
	info.GoVersion = "go1.26.6"
	want := []Component{
		{ID: "go-go.etcd.io/etcd/server/v3-v3.7.3", Name: "go.etcd.io/etcd/server/v3", Version: "v3.7.3", PURL: "pkg:golang/go.etcd.io/etcd/server/v3@v3.7.3", Source: "Go module, h1:x"},
		{ID: "go-golang.org/x/net-v0.2.0", Name: "golang.org/x/net", Version: "v0.2.0", PURL: "pkg:golang/golang.org/x/net@v0.2.0", Source: "Go module, h1:y"},
		{ID: "go-stdlib-1.26.6", Name: "stdlib", Version: "1.26.6", PURL: "pkg:golang/stdlib@1.26.6"},
	}
	if d := cmp.Diff(want, modulesOf(info)); d != "" {
		t.Errorf("modules (-want +got):\n%s", d)
	}
	if _, err := Modules("sbom_test.go"); err == nil {
		t.Error("a text was taken for a Go program")
	}
}

func TestLicense(t *testing.T) {
	if got := License("../../.."); got != "Apache-2.0" {
		t.Errorf("licence of this repository is %q", got)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "LICENSE"), []byte("Do as you like."), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := License(dir); got != "" {
		t.Errorf("an unknown text is %q", got)
	}
	want := []string{"BSD-3-clause", "GPL-2+"}
	if d := cmp.Diff(want, DebianLicenses("Files: *\nLicense: GPL-2+\n text\nLicense: BSD-3-clause\nLicense: GPL-2+\n")); d != "" {
		t.Error(d)
	}
}

func FuzzLicenses(f *testing.F) {
	f.Add("Permission is hereby granted, free of charge, ...\nTHE SOFTWARE IS PROVIDED \"AS IS\"")
	f.Add("Files: *\nLicense: GPL-2+\n on Debian systems\n\nLicense: MIT\n")
	f.Fuzz(func(t *testing.T, text string) {
		// Line breaks and letters' case are a matter of the author's taste.
		if got, want := licensesOf([]byte(strings.ReplaceAll(text, " ", "\n\t"))), licensesOf([]byte(text)); !slices.Equal(got, want) {
			t.Errorf("%q: %q, and %q with other line breaks", text, want, got)
		}
		names := DebianLicenses(text)
		if !slices.IsSorted(names) || slices.Contains(names, "") || len(slices.Compact(slices.Clone(names))) != len(names) {
			t.Errorf("%q: got %q, want names sorted, each once", text, names)
		}
	})
}
