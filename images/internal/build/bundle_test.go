package build

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// The pods of local clusters and of the tests are never pulled: they run on images of
// every version, so what they name must be what each of those brings.
func TestManifestsNameTheDemoImage(t *testing.T) {
	tests, err := filepath.Glob("../../../test/e2e/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	want := (&builder{version: "9.8.7"}).imageName("demo")
	reference := regexp.MustCompile(`cyvive\.dev/demo[\w.:-]*`)
	named := 0
	for _, file := range append(tests, "../../../hack/qemu/demo.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range reference.FindAllString(string(text), -1) {
			named++
			if got != want {
				t.Errorf("%s names the image %s, and a node of version 9.8.7 has %s", file, got, want)
			}
		}
	}
	if named < 2 {
		t.Errorf("%d manifests name the image, want that of hack/qemu and those of test/e2e", named)
	}
}
