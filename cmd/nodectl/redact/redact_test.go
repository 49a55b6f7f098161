package redact

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	containerv1 "github.com/cyvive/cyvive/api/proto/container/v1"
	kernelv1 "github.com/cyvive/cyvive/api/proto/kernel/v1"
)

const pem = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIIrYSSNQFaA2Hwf1duRSxKtLYX5CB04fSeQ6tF1aY/PuoAoGCCqGSM49\nAwEHoUQDQgAEPR3tU2Fta9ktY+6P9G0cWO+0kETA6SFs38GecTyudlHz6xvCdz8q\n-----END EC PRIVATE KEY-----"

func TestText(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"nothing of note", "nothing of note"},
		// Command lines.
		{"app --token hunter2 --port 80", "app --token [redacted] --port 80"},
		{"app --db-password=hunter2 -v", "app --db-password=[redacted] -v"},
		{"app --password 'hunter2 and more' x", "app --password [redacted] x"},
		{"app --tls-private-key-file=/run/keys/tls.key", "app --tls-private-key-file=/run/keys/tls.key"},
		{"app --token-file /run/token", "app --token-file /run/token"},
		{"app --token-file=hunter2,SECRET", "app --token-file=[redacted]"},
		{"app --password p&s's,w;o}rd -v", "app --password [redacted] -v"},
		{`password="a\"b c" d`, `password=[redacted] d`},
		{`{"token":"cut off`, `{"token":[redacted] off`},
		{"app --token --verbose", "app --token --verbose"},
		{"AWS_SECRET_ACCESS_KEY=abc/def+0 run", "AWS_SECRET_ACCESS_KEY=[redacted] run"},
		{"DB_PASS=hunter2 dbpass=hunter2", "DB_PASS=[redacted] dbpass=[redacted]"},
		{"password:\n  hunter2\n", "password:\n  [redacted]\n"},
		{"cyvive.config=https://boot:hunter2@10.0.0.1/c.yaml?token=abc&x=1", "cyvive.config=https://boot:[redacted]@10.0.0.1/c.yaml?token=[redacted]"},
		{"--authorization-mode=Node,RBAC", "--authorization-mode=Node,RBAC"},
		// Logs.
		{`{"password":"hunter2","user":"x"}`, `{"password":[redacted],"user":"x"}`},
		{`msg="{\"secret\": \"hunter2\"}"`, `msg="{\"secret\": [redacted]}"`},
		{"Authorization: Bearer abcdefgh12345678", "Authorization: Bearer [redacted]"},
		{"client-key-data: LS0tLS1CRUdJTiBFQyBQUklWQVRFIEtFWS0tLS0t", "client-key-data: [redacted]"},
		{"x LS0tLS1CRUdJTiBFQyBQUklWQVRFIEtFWS0tLS0t y", "x [redacted] y"},
		{"ca LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1J", "ca LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1J"},
		{"jwt eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln-nature end", "jwt [redacted] end"},
		{"join abcdef.0123456789abcdef now", "join [redacted] now"},
		{"a1b2c3.0123456789abcdef", "[redacted]"},
		{"x.a1b2c3.0123456789abcdef y", "x.[redacted] y"},
		{"pod a1b2c3d.0123456789abcdef", "pod a1b2c3d.0123456789abcdef"},
		{"forbearer abcdefgh12345678", "forbearer abcdefgh12345678"},
		{"AGE-SECRET-KEY-1QQQQQQQQQQ", "[redacted]"},
		{"the token expired and was renewed", "the token expired and was renewed"},
		{"automountServiceAccountToken: false", "automountServiceAccountToken: false"},
		{"secretName: web-tls", "secretName: web-tls"},
		{"secretName: password=hunter2", "secretName: [redacted]"},
		// Keys, whole and cut off.
		{"a\n" + pem + "\nb", "a\n[redacted]\nb"},
		{pem[:60], "[redacted]"},
		{"rest of a key\n" + pem[40:] + "\nb", "[redacted]\nb"},
		{"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"},
		{pem + pem, "[redacted]"},
	} {
		got, n := Text(c.in)
		if got != c.want || n != strings.Count(c.want, Mark) {
			t.Errorf("%q\n got %q (%d)\nwant %q", c.in, got, n, c.want)
		}
	}
}

// TestHostile: what a program writes to be read slowly is read in time.
func TestHostile(t *testing.T) {
	for _, piece := range []string{"token=", "token=\"", `token=\"`, "-----END PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----", "a://b:", "eyJaaaaaaa.", "--token ", "tokentoken", "=token", "key-", "eyJ", "bearer ", "aaaaaa.aaaaaaaaaaaaaaaa"} {
		start := time.Now()
		Text(strings.Repeat(piece, (1<<16)/len(piece)))
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("64 KiB of %q took %v", piece, took)
		} else {
			t.Logf("%q: %v", piece, took)
		}
	}
}

func BenchmarkText(b *testing.B) {
	text := strings.Repeat(`time=2026-11-26T03:00:00Z level=INFO msg="took a token bucket" key=value path=/var/lib/kubelet took=1.5ms`+"\n", 10000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		Text(text)
	}
}

func TestMessage(t *testing.T) {
	m := &kernelv1.ListProcessesResponse{Processes: []*kernelv1.Process{
		{Pid: 7, Name: "app", CommandLine: "app --token hunter2"}, {CommandLine: "init"},
	}}
	if n := Message(m); n != 1 {
		t.Errorf("got %d", n)
	}
	want := &kernelv1.ListProcessesResponse{Processes: []*kernelv1.Process{
		{Pid: 7, Name: "app", CommandLine: "app --token [redacted]"}, {CommandLine: "init"},
	}}
	if diff := cmp.Diff(want, m, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	c := &containerv1.Container{Image: "registry.example/x"}
	if n := Message(c); n != 0 || c.GetImage() != "registry.example/x" {
		t.Errorf("got %d, %v", n, c)
	}
}

func FuzzText(f *testing.F) {
	f.Add("app --token-file ", " x")
	f.Add(`secretName: `, `"`)
	f.Add("-----END RSA PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----")
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "hunter2-4Zq9xV7k"
		for _, planted := range []string{" --password=" + secret, " db-password: " + secret, " --token " + secret, "\n{\"secret\":\"" + secret + "\"}"} {
			text := before + planted + after
			once, n := Text(text)
			if strings.Contains(once, secret) && !strings.Contains(before+after, secret) {
				t.Errorf("%q\nstill has the secret: %q", text, once)
			}
			if n < 0 || len(once) > len(text)+len(Mark)*n {
				t.Errorf("%q became %q, with %d", text, once, n)
			}
			if twice, _ := Text(once); twice != once {
				t.Errorf("%q became %q, and then %q", text, once, twice)
			}
		}
	})
}
