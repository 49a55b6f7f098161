package pull

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

func TestParseSource(t *testing.T) {
	digest := "sha256:" + strings.Repeat("ab", 32)
	for text, want := range map[string]string{ // the manifest's or the file's URL, and the digest
		"https://host/a/b.cyvive?x=1":                  "https://host/a/b.cyvive?x=1 ",
		"http://10.0.0.1:8080/b":                       "http://10.0.0.1:8080/b ",
		"oci://registry.example/cyvive/node:1.1.0":     "https://registry.example/v2/cyvive/node/manifests/1.1.0 ",
		"oci+http://[fd00::1]:5000/node:v1":            "http://[fd00::1]:5000/v2/node/manifests/v1 ",
		"oci://r:5000/a/b__c-d.e:1@" + digest:          "https://r:5000/v2/a/b__c-d.e/manifests/" + digest + " " + digest,
		"oci://registry.example/cyvive/node@" + digest: "https://registry.example/v2/cyvive/node/manifests/" + digest + " " + digest,
	} {
		s, err := ParseSource(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var got string
		if s.web != nil {
			got = s.web.String() + " "
		} else {
			got = s.base.JoinPath("v2", s.repo, "manifests", s.ref).String() + " " + s.digest
		}
		if got != want || strings.Contains(s.String(), "x=1") {
			t.Errorf("%s: got %s (shown as %s), want %s", text, got, s, want)
		}
	}
	for text, words := range map[string]string{
		"":                                     "names no host",
		"cyvive-1.1.0.cyvive":                  "names no host",
		"ftp://host/x":                         "expected https://, http://, oci:// or oci+http://",
		"https:///x":                           "names no host",
		"https://me:pw@host/x":                 "upgrade.sources",
		"https://host/x#y":                     "behind #",
		"https://host:port/x":                  "is no URL",
		"oci://host/node":                      "neither tag nor digest, expected one, such as oci://host/node:1.1.0",
		"oci://host/Node:1":                    "in lower case",
		"oci://host/:1":                        "in lower case",
		"oci://host/a//b:1":                    "in lower case",
		"oci://host/../x:1":                    "in lower case",
		"oci://host/node:":                     "tag",
		"oci://host/node:a b":                  "tag",
		"oci://host/node@sha256:12":            "expected sha256: and 64 hexadecimal digits",
		"oci://host/node:1?x=y":                "has a query",
		"https://" + strings.Repeat("x", 5000): "expected at most 4096",
	} {
		if _, err := ParseSource(text); !errors.Is(err, ErrSource) || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "pw") {
			t.Errorf("%.60s: got %v, want %q", text, err, words)
		}
	}
}

func FuzzSource(f *testing.F) {
	for _, s := range []string{"https://host/a?b", "oci://host:5000/a/b:1.1.0", "oci+http://[::1]/a@sha256:" + strings.Repeat("0", 64), "oci://a/b:c@d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSource(text)
		if err != nil {
			if !errors.Is(err, ErrSource) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if strings.Contains(s.String(), "?") || s.web == nil && (s.ref == "" || s.repo == "" || strings.Contains(s.repo, "..")) {
			t.Errorf("%q: %+v", text, s)
		}
		if s.web == nil {
			if _, err := http.NewRequest(http.MethodGet, s.base.JoinPath("v2", s.repo, "manifests", s.ref).String(), nil); err != nil {
				t.Errorf("%q is a source, and no request can be made: %v", text, err)
			}
		}
	})
}

func TestContentRange(t *testing.T) {
	for text, want := range map[string][2]int64{"bytes 5-9/10": {5, 10}, "bytes 0-0/1": {0, 1}, "bytes 7-9/*": {7, -1}} {
		if from, total, ok := parseContentRange(text); !ok || from != want[0] || total != want[1] {
			t.Errorf("%q: %d %d %t", text, from, total, ok)
		}
	}
	for _, text := range []string{"", "bytes", "bytes */10", "bytes 9-5/10", "bytes 5-10/10", "bytes 5-9", "items 5-9/10", "bytes -5-9/10", "bytes 5-9/x", "bytes 99999999999999999999-1/2"} {
		if from, total, ok := parseContentRange(text); ok {
			t.Errorf("%q was read as %d of %d", text, from, total)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 5-9/10")
	f.Add("bytes 5-9/*")
	f.Fuzz(func(t *testing.T, text string) {
		if from, total, ok := parseContentRange(text); ok && (from < 0 || total < -1 || total >= 0 && from >= total) {
			t.Errorf("%q: %d of %d", text, from, total)
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"layers":[{"mediaType":"` + LayerType + `","digest":"sha256:` + strings.Repeat("0", 64) + `","size":5}]}`))
	f.Add([]byte(`{"manifests":[{"digest":"sha256:` + strings.Repeat("0", 64) + `","platform":{"architecture":"amd64"}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseManifest(data)
		if err != nil {
			return
		}
		if l, err := m.layer(); err == nil && (l.Size <= 0 || !digestForm.MatchString(l.Digest)) {
			t.Errorf("layer %+v of %q", l, data)
		}
		if d, err := m.choose("amd64"); err == nil && !digestForm.MatchString(d.Digest) {
			t.Errorf("manifest %+v of %q", d, data)
		}
	})
}
