package command

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// TestVMNames: a name is one to package zfs where it is one to OpenZFS. zfs list answers for many names at once: each has one line, which says that
// it does not exist, or what is wrong with it.
func TestVMNames(t *testing.T) {
	longOnly(t)
	l := newLab(t)
	names := append(candidates(), corpusNames(t)...)
	names = slices.DeleteFunc(names, func(s string) bool {
		return strings.ContainsAny(s, "\n\x00$") || strings.HasPrefix(s, "/") || strings.HasPrefix(s, "./") // a path, or no line, or the lab's name
	})
	const atOnce = 100
	for chunk := range slices.Chunk(names, atOnce) {
		err := l.zfs(append([]string{"list", "-H", "-o", "name", "-t", "all", "--"}, chunk...)...)
		var e *Error
		if !errors.As(err, &e) || e.cut {
			t.Fatalf("%d names that do not exist: %v", len(chunk), err)
		}
		lines := strings.Split(strings.TrimSuffix(e.Said, "\n"), "\n")
		if len(lines) != len(chunk) {
			t.Fatalf("%d names, and %d lines:\n%s", len(chunk), len(lines), e.Said)
		}
		for i, name := range chunk {
			checkVerdict(t, name, lines[i])
		}
	}
}

// checkVerdict compares what zfs says about a name with what package zfs does.
func checkVerdict(t *testing.T, name, line string) {
	t.Helper()
	if !strings.Contains(line, "cannot open '"+name+"'") {
		t.Errorf("%q: %s", name, line)
		return
	}
	valid := strings.HasSuffix(line, ": dataset does not exist") || strings.HasSuffix(line, ": no such pool or dataset")
	dataset, _, delimited := strings.Cut(strings.ReplaceAll(name, "#", "@"), "@")
	pool, _, _ := strings.Cut(dataset, "/")
	last := dataset[strings.LastIndexByte(dataset, '/')+1:]
	_, err := zfs.ParseName(name)
	switch {
	case zfs.CheckPool(pool) != nil && err != nil:
		// No pool is called so; zfs looks for it all the same.
	case delimited && (last == "." || last == "..") && err != nil:
		// Nor a dataset.
	case valid != (err == nil):
		t.Errorf("%q: zfs says %s, package zfs %v", name, line, err)
	}
}

// candidates are names of a pool that is not there: each byte in each kind of place, and names that chance has made of what matters.
func candidates() []string {
	var all []string
	for c := 1; c < 256; c++ {
		all = append(all, "none/a"+string([]byte{byte(c)})+"b", "none/a@s"+string([]byte{byte(c)}))
	}
	for _, length := range []int{246, 247, 248, 249, 250, 251} {
		all = append(all, "none/"+strings.Repeat("a", length), "none@"+strings.Repeat("s", length), "none#"+strings.Repeat("b", length))
	}
	random := rand.New(rand.NewPCG(1, 2))
	parts := []string{"a", "Z", "0", ".", "..", "-", "_", ":", " ", "%", "/", "/", "@", "#", "!", ",", "*", "ä"}
	for range 1500 {
		name := "none"
		for range random.IntN(8) {
			name += parts[random.IntN(len(parts))]
		}
		all = append(all, name)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// corpusNames are those that the fuzz test of package zfs begins with, where its folder is there.
func corpusNames(t *testing.T) []string {
	var all []string
	files, err := filepath.Glob("../testdata/fuzz/FuzzName/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ := strings.Cut(string(data), "string(")
		name, err := strconv.Unquote(strings.TrimSuffix(strings.TrimSpace(text), ")"))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, strings.Replace(name, "tank", "none", 1))
	}
	return all
}

// TestVMNewNames: what may be made, zfs makes, and no other.
func TestVMNewNames(t *testing.T) {
	longOnly(t)
	l := newLab(t)
	deep := strings.Repeat("/a", zfs.MaxSlashes-1) // below tank/labN
	for name := deep[:2]; len(name) < len(deep); name += "/a" {
		l.must("create", "-u", "$"+name)
	}
	room := zfs.MaxNameBytes - len(l.base)
	for name, good := range map[string]bool{
		"/b.c-d_e:f g": true, "/%": false, "/recv%": false, "/c0t0d0": true, "/mirror": true, "/-r": true, "/...": true, "/.": false, "/b,c": false,
		deep: true, deep + "/a": false, "/" + strings.Repeat("b", room-1): true, "/" + strings.Repeat("b", room): false,
	} {
		whole := l.base + name
		_, parseErr := zfs.ParseDataset(whole)
		_, zfsErr := l.run.Zfs(l.ctx, "create", "-u", "--", whole)
		if (parseErr == nil) != good || (zfsErr == nil) != good {
			t.Errorf("file system %q: package zfs %v, zfs %v, want %t", whole, parseErr, zfsErr, good)
		}
	}
	for name, good := range map[string]bool{
		"@s": true, "@-": true, "@a b:c": true, "@%": false, "@s%t": false, "@.": false, "@..": false, "@s,t": false,
		"@" + strings.Repeat("s", room-1): true, "@" + strings.Repeat("s", room): false,
	} {
		whole := l.base + name
		_, parseErr := zfs.ParseSnapshot(whole)
		_, zfsErr := l.run.Zfs(l.ctx, "snapshot", "--", whole)
		if (parseErr == nil) != good || (zfsErr == nil) != good {
			t.Errorf("snapshot %q: package zfs %v, zfs %v, want %t", whole, parseErr, zfsErr, good)
		}
	}
}

// TestVMPoolNames: as TestVMNewNames, for pools. zpool create -n does not look at the name.
func TestVMPoolNames(t *testing.T) {
	longOnly(t)
	l := newLab(t)
	file := filepath.Join(t.TempDir(), "file")
	for name, good := range map[string]bool{
		"a": true, "pool-1_2.3:4 5": true, "Z": true, "c0": true, "logs": true, "mirro": true, "1a": false, "-a": false, "_a": false,
		"mirror": false, "mirror1": false, "raidz": false, "raidzz": false, "draid2": false, "spare": false, "spares": false, "log": false, "a%": false, "a@b": false, "a/b": false, "ä": false,
		strings.Repeat("p", zfs.MaxPoolBytes): true, strings.Repeat("p", zfs.MaxPoolBytes+1): false,
	} {
		err := makePool(l.ctx, l.run, name, file, 64<<20)
		if own := zfs.CheckNewPool(name); (own == nil) != good || (err == nil) != good {
			t.Errorf("pool %q: package zfs %v, zpool %v, want %t", name, own, err, good)
		}
		if err != nil {
			continue
		}
		if _, err := l.run.Zpool(l.ctx, "destroy", "--", name); err != nil {
			t.Fatal(err)
		}
	}
}
