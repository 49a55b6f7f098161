package build

import (
	"strings"
	"testing"

	"github.com/cyvive/cyvive/images/internal/tree"
)

// TestAuthorities: the bundle has every certificate of the package once, in one order,
// and nothing else.
func TestAuthorities(t *testing.T) {
	certificate := func(content string) string {
		return "-----BEGIN CERTIFICATE-----\n" + content + "\n-----END CERTIFICATE-----"
	}
	from := tree.New()
	for name, text := range map[string]string{
		authoritiesDir + "mozilla/b.crt":            certificate("Yg=="),
		authoritiesDir + "mozilla/a.crt":            certificate("YQ==") + "\n",
		authoritiesDir + "mozilla/c_Főtanúsító.crt": certificate("Yw==") + "\n",
		authoritiesDir + "mozilla/README":           "text",
		"/usr/lib/other.crt":                        certificate("eA=="),
	} {
		from.Write(name, 0o644, []byte(text))
	}
	want := certificate("YQ==") + "\n" + certificate("Yg==") + "\n" + certificate("Yw==") + "\n"
	for range 5 {
		if got, err := authorities(from); err != nil || string(got) != want {
			t.Fatalf("got %v\n%s\nwant\n%s", err, got, want)
		}
	}
	for what, text := range map[string]string{
		"no PEM": "text", "a key": strings.ReplaceAll(certificate("YQ=="), "CERTIFICATE", "PRIVATE KEY"), "text behind": certificate("YQ==") + "\ntext",
	} {
		from.Write(authoritiesDir+"mozilla/a.crt", 0o644, []byte(text))
		if _, err := authorities(from); err == nil || !strings.Contains(err.Error(), "a.crt") {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if _, err := authorities(tree.New()); err == nil {
		t.Error("a package without certificates was taken")
	}
}
