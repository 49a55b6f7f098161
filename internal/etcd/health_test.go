package etcd

import (
	"encoding/json"
	"testing"
)

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
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := parseHealth(data); err == nil {
			var answer map[string]any
			if json.Unmarshal(data, &answer) != nil || !holds(answer, "true") {
				t.Errorf("%q passes for a healthy member", data)
			}
		}
	})
}

// holds tells whether a value of the object is the text.
func holds(object map[string]any, text string) bool {
	for _, value := range object {
		if value == text {
			return true
		}
	}
	return false
}
