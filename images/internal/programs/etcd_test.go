package programs

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

// TestEtcdStaysWhereReleasesGoBack: as soon as all members of a cluster are of a
// newer minor version, etcd notes that version in its data, and an older etcd ends
// at every start on them (go.etcd.io/etcd/server/v3 v3.7.3,
// etcdserver/version/downgrade.go, MustDetectDowngrade). On a control plane of one
// node that is seconds after a trial boot: the release to which a failed trial goes
// back would have no etcd. Raise this version only with a way back for etcd's data
// (etcd's own downgrade, or a snapshot of its dataset where it has one member), and
// a test on whole nodes that a failed trial takes it.
func TestEtcdStaysWhereReleasesGoBack(t *testing.T) {
	const minor = "v3.7"
	file := filepath.Join("../..", byName(t, "etcd").Module, "go.mod")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse(file, data, nil)
	if err != nil {
		t.Fatal(err)
	}
	const server = "go.etcd.io/etcd/server/v3"
	for _, r := range mod.Replace {
		if r.Old.Path == server {
			t.Fatalf("%s: %s stands in for etcd: its version cannot be told from here", file, r.New)
		}
	}
	for _, r := range mod.Require {
		if r.Mod.Path != server {
			continue
		}
		if got := semver.MajorMinor(r.Mod.Version); got != minor {
			t.Errorf("%s has etcd %s; releases so far have %s, and on data of a newer minor version they do not start", file, r.Mod.Version, minor)
		}
		return
	}
	t.Errorf("%s does not name %s", file, server)
}
