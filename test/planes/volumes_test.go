package planes

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/cyvive/cyvive/internal/kube"
)

// makeVolumes applies the objects of volumes, with the definitions of the image beside its programs, starts csi-controllers, and asks what its identity may do.
// It waits for a driver, which comes then, and has it make volumes.
func makeVolumes(
	ctx context.Context, t *testing.T, api *http.Client, bin, secrets string, spec kube.Spec, kubernetes func(name string, args []string),
) {
	definitions, err := kube.ReadDefinitions(filepath.Join(bin, "definitions"))
	if err != nil {
		t.Fatal(err)
	}
	objects := kube.NewVolumeObjects(definitions)
	applyTwice(ctx, t, api, objects.Manifests, objects.Revision)

	sockets := socketDir(t)
	kubernetes("csi-controllers", kube.CSIControllersArgs(spec, secrets, sockets))
	waitFor(ctx, t, "answer of csi-controllers", func() error { return kube.Answers(ctx, "csi-controllers") })

	own := client(t, spec, "system:cyvive:csi-controllers", "test:no-group-of-kubernetes")
	for _, test := range []struct {
		verb, group, resource string
		want                  bool
	}{
		{"create", "", "persistentvolumes", true}, {"patch", "", "persistentvolumeclaims/status", true},
		{"create", "snapshot.storage.k8s.io", "volumesnapshotcontents", true}, {"update", "groupsnapshot.storage.k8s.io", "volumegroupsnapshots/status", true},
		{"delete", "", "persistentvolumeclaims", false}, {"get", "", "secrets", false}, {"list", "", "pods", false}, {"create", "", "pods", false},
		{"create", "rbac.authorization.k8s.io", "clusterrolebindings", false}, {"create", "storage.k8s.io", "storageclasses", false},
	} {
		allowed, err := may(ctx, own, test.verb, test.group, test.resource)
		if err != nil || allowed != test.want {
			t.Errorf("csi-controllers may %s %s of %q: got %t, want %t (%v)", test.verb, test.resource, test.group, allowed, test.want, err)
		}
	}
	serveDriver(ctx, t, api, spec, sockets).follow()
}

// may asks the API server whether the client's user may do something in every namespace.
func may(ctx context.Context, user *http.Client, verb, group, resource string) (bool, error) {
	kind, sub := resource, ""
	if dir, file := filepath.Split(resource); dir != "" {
		kind, sub = filepath.Clean(dir), file
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
		"spec": map[string]any{"resourceAttributes": map[string]string{"verb": verb, "group": group, "resource": kind, "subresource": sub}},
	})
	if err != nil {
		return false, err
	}
	answer, err := postFor(ctx, user, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", string(body))
	if err != nil {
		return false, err
	}
	var review struct{ Status struct{ Allowed bool } }
	if err := json.Unmarshal(answer, &review); err != nil {
		return false, fmt.Errorf("read review: %w", err)
	}
	return review.Status.Allowed, nil
}
