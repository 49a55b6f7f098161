package etcd

import "testing"

func TestParseHealth(t *testing.T) {
	for text, want := range map[string]string{
		`{"health":"true","reason":""}`:                "",
		`{"health":"true"}`:                            "",
		`{"health":"false","reason":"RAFT NO LEADER"}`: "etcd is not healthy: RAFT NO LEADER",
		`{"health":"false"}`:                           "etcd is not healthy and gives no reason",
		`{}`:                                           "etcd is not healthy and gives no reason",
		`not json`:                                     "read etcd's health: invalid character 'o' in literal null (expecting 'u')",
		`{"health":"false","reason":"NOSPACE","unknown":"x"}`: "etcd is not healthy: NOSPACE",
	} {
		got := ""
		if err := parseHealth([]byte(text)); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func FuzzParseHealth(f *testing.F) {
	f.Add([]byte(`{"health":"true"}`))
	f.Add([]byte(`{"health":"false","reason":"x"}`))
	f.Fuzz(func(_ *testing.T, data []byte) { _ = parseHealth(data) })
}
