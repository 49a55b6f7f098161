package fuzz

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// decoders are functions of libraries that take text or bytes apart. A package
// that calls one of them reads a format.
var decoders = map[string][]string{
	"archive/tar":     {"NewReader"},
	"bufio":           {"NewScanner", "NewReader", "NewReaderSize"},
	"bytes":           {"Cut", "Fields", "Split", "SplitN", "SplitSeq", "Lines"},
	"debug/elf":       {"NewFile"},
	"debug/pe":        {"NewFile"},
	"encoding/base64": {"NewDecoder"},
	"encoding/binary": {"Read", "LittleEndian", "BigEndian"},
	"encoding/hex":    {"DecodeString"},
	"encoding/json":   {"Unmarshal", "NewDecoder"},
	"encoding/pem":    {"Decode"},
	"fmt":             {"Sscan", "Sscanf", "Sscanln", "Fscan", "Fscanf"},
	"net/netip":       {"ParseAddr", "ParsePrefix", "ParseAddrPort"},
	"strconv":         {"Atoi", "ParseInt", "ParseUint", "ParseFloat", "ParseBool", "Unquote"},
	"strings":         {"Fields", "FieldsSeq", "Split", "SplitN", "SplitSeq", "Lines"},

	"go.yaml.in/yaml/v3":                            {"Unmarshal", "NewDecoder"},
	"google.golang.org/protobuf/encoding/protojson": {"Unmarshal"},
	"github.com/insomniacslk/dhcp/dhcpv4":           {"FromBytes"},
}

// called returns the decoders that the package in dir calls, as PACKAGE.NAME.
func called(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	for _, file := range goFiles(t, dir, false) {
		names := map[string]string{} // of imports, by what the file calls them
		for _, i := range file.Imports {
			path := strings.Trim(i.Path.Value, `"`)
			name := path[strings.LastIndexByte(path, '/')+1:]
			if strings.HasSuffix(path, "/yaml/v3") {
				name = "yaml"
			}
			if i.Name != nil {
				name = i.Name.Name
			}
			names[name] = path
		}
		ast.Inspect(file, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := selector.X.(*ast.Ident); ok && slices.Contains(decoders[names[x.Name]], selector.Sel.Name) {
				found = append(found, x.Name+"."+selector.Sel.Name)
			}
			return true
		})
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// goFiles parses the Go files of dir: its tests, or all others.
func goFiles(t *testing.T, dir string, tests bool) []*ast.File {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") != tests || strings.HasSuffix(path, ".pb.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// fuzzTests returns the names of the fuzz tests of the package in dir.
func fuzzTests(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	for _, file := range goFiles(t, dir, true) {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Fuzz") {
				names = append(names, f.Name.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// packages returns the folders with Go files of this repository, of both modules.
func packages(t *testing.T) []string {
	t.Helper()
	var dirs []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() {
			if rel == "out" || rel == "bin" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && rel != "." {
				return fs.SkipDir
			}
			return nil
		}
		if dir := filepath.Dir(rel); strings.HasSuffix(rel, ".go") && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(dirs)
	return dirs
}

// TestEveryParserIsKnown: what takes input apart is in one of the two tables.
func TestEveryParserIsKnown(t *testing.T) {
	reasons := withoutFuzzTest()
	for _, dir := range packages(t) {
		calls := called(t, filepath.Join(root, dir))
		_, excused := reasons[dir]
		switch _, fuzzed := parsers()[dir]; {
		case fuzzed && excused:
			t.Errorf("%s is in both tables", dir)
		case len(calls) > 0 && !fuzzed && !excused:
			t.Errorf("%s calls %s: give it a fuzz test and name it in parsers, or say in withoutFuzzTest where its input comes from",
				dir, strings.Join(calls, ", "))
		case len(calls) == 0 && excused:
			t.Errorf("%s needs no excuse: it calls no decoder", dir)
		}
	}
}

// TestEveryParserIsFuzzed: the table and the fuzz tests are the same list, and
// each test has a corpus of its own that go test can read.
func TestEveryParserIsFuzzed(t *testing.T) {
	table := parsers()
	for _, dir := range packages(t) {
		got, want := fuzzTests(t, filepath.Join(root, dir)), slices.Sorted(slices.Values(table[dir]))
		delete(table, dir)
		if !slices.Equal(got, want) {
			t.Errorf("%s has the fuzz tests %q, and parsers says %q", dir, got, want)
		}
		for _, name := range got {
			if err := checkCorpus(filepath.Join(root, dir, "testdata", "fuzz", name)); err != nil {
				t.Error(err)
			}
		}
	}
	for dir := range table {
		t.Errorf("parsers names %s, where there is no package", dir)
	}
}

// minCorpus is how many inputs a corpus has at least: something as it is met,
// something broken, and something at a limit.
const minCorpus = 3

func checkCorpus(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("a fuzz test without a corpus: %w", err)
	}
	if len(files) < minCorpus {
		return fmt.Errorf("corpus %s: %d inputs, expected %d at least", dir, len(files), minCorpus)
	}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(dir, file.Name()))
		if err != nil {
			return err
		}
		if !strings.HasPrefix(string(text), "go test fuzz v1\n") {
			return fmt.Errorf("corpus %s: %s is not in the form of go test", dir, file.Name())
		}
	}
	return nil
}

func TestCheckCorpus(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if checkCorpus(filepath.Join(dir, "none")) == nil || checkCorpus(dir) == nil {
		t.Error("an absent or empty corpus passes")
	}
	for i := range minCorpus {
		write(fmt.Sprint(i), "go test fuzz v1\nint(1)\n")
	}
	if err := checkCorpus(dir); err != nil {
		t.Error(err)
	}
	write("x", "int(1)\n")
	if checkCorpus(dir) == nil {
		t.Error("an input that go test cannot read passes")
	}
}
