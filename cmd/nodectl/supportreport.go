package main

import (
	"fmt"
	"strings"

	"github.com/cyvive/cyvive/cmd/nodectl/support"
)

// tellSupport says what came from each node.
func (a *app) tellSupport(m support.Manifest) {
	for _, n := range m.Nodes {
		files, bytes := 0, 0
		for _, i := range n.Items {
			if i.File != "" {
				files, bytes = files+1, bytes+i.Bytes
			}
		}
		fmt.Fprintf(a.stderr, "%s: %d files, %s\n", n.Address, files, bytesText(uint64(bytes)))
		var reasons []string
		missing := map[string][]string{} // names by reason
		for _, i := range n.Failures() {
			if missing[i.Failed] == nil {
				reasons = append(reasons, i.Failed)
			}
			missing[i.Failed] = append(missing[i.Failed], i.Name)
		}
		for _, reason := range reasons {
			names := missing[reason]
			if more := len(names) - shownNames; more > 0 {
				names = append(names[:shownNames:shownNames], fmt.Sprintf("%d more", more))
			}
			fmt.Fprintf(a.stderr, "%s: missing: %s: %s\n", n.Address, strings.Join(names, ", "), reason)
		}
	}
}

// incompleteError says that an archive lacks something; what, has been printed.
type incompleteError struct{ failed, total int }

func (e incompleteError) Error() string {
	return fmt.Sprintf("the archive lacks %d of %d items; its manifest.json says why", e.failed, e.total)
}

func incomplete(m support.Manifest) error {
	var e incompleteError
	for _, n := range m.Nodes {
		e.failed += len(n.Failures())
		e.total += len(n.Items)
	}
	if e.failed == 0 {
		return nil
	}
	return e
}
