package source

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/machined/boot/cmdline"
)

// served gets what a URL of the command line leads to.
func served(t *testing.T, line string) string {
	t.Helper()
	p, err := parseURL(cmdline.Parse(line))
	if err != nil {
		return err.Error()
	}
	doc, err := p.fetch(t.Context(), newClient(10*time.Second, p.tls()))
	if err != nil {
		return err.Error()
	}
	return doc.Name + " " + string(doc.Data)
}

func TestPins(t *testing.T) {
	const documents = "kind: Machine\n"
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("token") != "a b" {
			t.Errorf("query %q", r.URL.RawQuery)
		}
		fmt.Fprint(w, documents)
	})
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	right := fmt.Sprintf("%x", sha256.Sum256([]byte(documents)))
	wrong := strings.Repeat("0", 64)
	key := fmt.Sprintf("%x", sha256.Sum256(secure.Certificate().RawSubjectPublicKeyInfo))
	for _, c := range []struct{ url, pins, want string }{
		{plain.URL, "cyvive.config.sha256=" + right, plain.URL + "/1 " + documents},
		{plain.URL, "cyvive.config.sha256=" + wrong, plain.URL + "/1: the documents have the SHA-256 " + right + ", and cyvive.config.sha256= is " + wrong},
		{secure.URL, "cyvive.config.sha256=" + right, secure.URL + "/1 " + documents},
		{secure.URL, "cyvive.config.sha256=" + wrong, secure.URL + "/1: the documents have the SHA-256 " + right + ", and cyvive.config.sha256= is " + wrong},
		{secure.URL, "cyvive.config.spki=" + strings.ToUpper(key), secure.URL + "/1 " + documents},
		{secure.URL, "cyvive.config.spki=" + wrong, secure.URL + "/1: the server has another key than cyvive.config.spki= says"},
		{secure.URL, "cyvive.config.spki=" + key + " cyvive.config.sha256=" + right, secure.URL + "/1 " + documents},
		{secure.URL, "cyvive.config.spki=" + key + " cyvive.config.sha256=" + wrong, secure.URL + "/1: the documents have the SHA-256 " + right + ", and cyvive.config.sha256= is " + wrong},
		{secure.URL, "cyvive.config.spki=" + wrong + " cyvive.config.sha256=" + right, secure.URL + "/1: the server has another key than cyvive.config.spki= says"},
		{strings.Replace(plain.URL, "http", "https", 1), "cyvive.config.sha256=" + right, strings.Replace(plain.URL, "http", "https", 1) + "/1: the answer is no TLS"},
	} {
		if got := served(t, "cyvive.config="+c.url+"/1?token=a%20b "+c.pins); got != c.want {
			t.Errorf("%s %s:\ngot  %s\nwant %s", c.url, c.pins, got, c.want)
		}
	}
}

func TestParseURL(t *testing.T) {
	sum := "cyvive.config.sha256=" + strings.Repeat("a", 64)
	key := "cyvive.config.spki=" + strings.Repeat("b", 64)
	for line, want := range map[string]string{
		"": "nil",
		"cyvive.config=https://[2001:db8::1]:8443/a " + key + " quiet " + key: "https://[2001:db8::1]:8443/a",
		"cyvive.config=http://a/ " + sum:                                      "http://a/",
		sum:                                                                   "is given without cyvive.config=",
		key:                                                                   "is given without cyvive.config=",
		"cyvive.config= " + sum:                                               `cyvive.config="", expected a URL with http or https and a host`,
		"cyvive.config=ftp://a/ " + sum:                                       "expected a URL with http or https",
		"cyvive.config=https:///a " + sum:                                     "and a host",
		"cyvive.config=http://a%zz/ " + sum:                                   "expected a URL",
		"cyvive.config=/etc/passwd " + sum:                                    "expected a URL",
		"cyvive.config=https://u:p@a/ " + key:                                 "holds a user name",
		"cyvive.config=https://a/#b " + key:                                   "a part behind #",
		"cyvive.config=http://a/":                                             "with http needs cyvive.config.sha256=",
		"cyvive.config=http://a/ " + key:                                      "cyvive.config.spki= is for https",
		"cyvive.config=https://a/":                                            "needs cyvive.config.sha256= or cyvive.config.spki=",
		"cyvive.config=http://a/ cyvive.config.sha256=abc":                    `cyvive.config.sha256="abc" is not 64 hexadecimal digits`,
		"cyvive.config=http://a/ cyvive.config.sha256=" + strings.Repeat("ag", 32): "is not 64 hexadecimal digits",
		"cyvive.config=https://a/ cyvive.config.spki":                              `cyvive.config.spki="" is not 64 hexadecimal digits`,
		"cyvive.config=http://a/ cyvive.config=http://b/ " + sum:                   "cyvive.config= is given twice, and differs",
		"cyvive.config=http://a/ " + sum + " cyvive.config.sha256=":                "cyvive.config.sha256= is given twice, and differs",
	} {
		p, err := parseURL(cmdline.Parse(line))
		got := "nil"
		switch {
		case err != nil:
			got = err.Error()
		case p != nil:
			got = p.at()
		}
		if exact := err == nil; exact && got != want || !exact && !strings.Contains(got, want) {
			t.Errorf("%s:\ngot  %s\nwant %s", line, got, want)
		}
	}
}
