// Package readme holds the test that the README's specification names tests
// that exist.
package readme

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// claim is one row of the table: what is promised, and by what it is shown.
type claim struct{ promise, shown string }

// claims returns the rows of the table under the heading Specification.
func claims(text string) []claim {
	_, text, _ = strings.Cut(text, "\n## Specification\n")
	text, _, _ = strings.Cut(text, "\n## ")
	var found []claim
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 2 || strings.HasPrefix(cells[1], "-") || strings.TrimSpace(cells[0]) == "Promise" {
			continue
		}
		found = append(found, claim{strings.TrimSpace(cells[0]), strings.TrimSpace(cells[1])})
	}
	return found
}

var testName = regexp.MustCompile(`^((?:Test|Fuzz)\w+)(?:/([\w-]+))?$`)

// TestSpecification wants each row to be pending, a make target, or packages
// with tests in them.
func TestSpecification(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := claims(string(text))
	if len(rows) < 10 {
		t.Fatalf("found %d rows, want the whole table", len(rows))
	}
	for _, row := range rows {
		t.Run(row.promise, func(t *testing.T) {
			if strings.HasPrefix(row.shown, "pending") {
				return
			}
			for part := range strings.SplitSeq(row.shown, ";") {
				checkPart(t, strings.TrimSpace(part))
			}
		})
	}
}

// checkPart takes "`make target`" or "`package` TestA, TestB/part".
func checkPart(t *testing.T, part string) {
	t.Helper()
	_, rest, _ := strings.Cut(part, "`")
	code, names, ok := strings.Cut(rest, "`")
	if !ok {
		t.Fatalf("%q names neither a make target nor a package", part)
	}
	if target, isMake := strings.CutPrefix(code, "make "); isMake {
		if !contains(t, filepath.Join(root, "Makefile"), "\n"+target+":") {
			t.Errorf("there is no make target %s", target)
		}
		return
	}
	files, err := filepath.Glob(filepath.Join(root, code, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("package %s has no tests (%v)", code, err)
	}
	for name := range strings.SplitSeq(names, ",") {
		match := testName.FindStringSubmatch(strings.TrimSpace(name))
		if match == nil {
			t.Fatalf("%q of package %s is no test's name", name, code)
		}
		has := func(text string) bool {
			return slices.ContainsFunc(files, func(file string) bool { return contains(t, file, text) })
		}
		if !has("func "+match[1]+"(") || match[2] != "" && !has(`"`+match[2]+`"`) {
			t.Errorf("package %s has no %s", code, match[0])
		}
	}
}

func contains(t *testing.T, path, text string) bool {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(data), text)
}
