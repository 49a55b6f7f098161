package importrules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"
)

func parse(t *testing.T, path string, mode parser.Mode) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, mode)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// importsOf returns the import paths of one file.
func importsOf(t *testing.T, path string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, spec := range parse(t, path, parser.ImportsOnly).Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		found[name] = true
	}
	return found
}

// declaresInit tells whether a file has a function init.
func declaresInit(t *testing.T, path string) bool {
	t.Helper()
	for _, declaration := range parse(t, path, parser.SkipObjectResolution).Decls {
		function, ok := declaration.(*ast.FuncDecl)
		if ok && function.Recv == nil && function.Name.Name == "init" {
			return true
		}
	}
	return false
}
