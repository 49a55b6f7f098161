package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"testing"
	"time"
)

// TestBadConfiguration gives a node configurations that it cannot take. It must
// come up so far that its owner can ask what is wrong, and say so with file, line
// and field.
func TestBadConfiguration(t *testing.T) {
	besideOthers(t)
	e := requireImage(t)
	for _, c := range []struct {
		name   string
		spoil  func([]byte) []byte
		reason string
	}{
		{"unknown-field", func(data []byte) []byte {
			return bytes.Replace(data, []byte("\nhostname:"), []byte("\nhostnmae:"), 1)
		}, `user-data:\d+: Machine\.hostnmae: `},
		{"truncated", func(data []byte) []byte {
			// In the midst of a PEM block of the Cluster document.
			at := bytes.LastIndex(data, []byte("-----BEGIN")) + 40
			return data[:at]
		}, `user-data:\d+: `},
	} {
		t.Run(c.name, func(t *testing.T) {
			besideOthers(t)
			ctx := testContext(t, 5*time.Minute)
			cluster := create(t, ctx, e.smallOptions(t))
			node := cluster.Nodes()[0]
			good, err := os.ReadFile(cluster.UserDataPath(node))
			if err != nil {
				t.Fatal(err)
			}
			bad := c.spoil(good)
			if bytes.Equal(bad, good) {
				t.Fatal("the configuration was not spoilt")
			}
			owned := ownedBy(t, ctx, cluster)
			if err := cluster.SetUserData(node, append([]byte(owned.document(t, ctx)+"---\n"), bad...)); err != nil {
				t.Fatal(err)
			}
			if err := cluster.Start(ctx); err != nil {
				t.Fatal(err)
			}
			fingerprint := owned.fingerprint(t, ctx, 1)
			want := regexp.MustCompile(c.reason)
			var out string
			eventually(t, ctx, "health of a node without a good configuration", func(ctx context.Context) (err error) {
				// An error is right: the node is not healthy.
				out, err = owned.nodectl(ctx, fingerprint, "health", "--output", "json")
				if !want.MatchString(out) {
					return fmt.Errorf("got %q, %w; want %s", out, err, want)
				}
				return nil
			})
			if bytes.Contains([]byte(out), []byte("PRIVATE KEY")) {
				t.Error("the answer holds a private key")
			}
		})
	}
}
