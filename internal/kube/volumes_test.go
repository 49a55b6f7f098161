package kube_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cyvive/cyvive/internal/kube"
)

// TestVolumesComeAndStay turns volumes on in a running cluster: what ran goes on as it is.
func TestVolumesComeAndStay(t *testing.T) { synctest.Test(t, testVolumesComeAndStay) }

func testVolumesComeAndStay(t *testing.T) {
	w := newWorld(t)
	w.run()
	if _, err := os.Stat(filepath.Join(w.layout.Secrets, "csi-controllers")); !os.IsNotExist(err) {
		t.Errorf("a cluster without volumes has secrets for csi-controllers: %v", err)
	}
	w.spec.Volumes = true
	w.waits("container csi-controllers to be started")
	w.expect("volumes come", "issue certificates of kubernetes", "run container csi-controllers", "apply objects of persistent volumes")
	w.waits("")
	w.expect("once")
	if got := len(w.status().Services); got != 5 {
		t.Errorf("services: got %d", got)
	}
	spec, _ := w.system.Spec("csi-controllers")
	golden(t, "csi-controllers.txt", strings.ReplaceAll(render(spec), w.dir, "DIR"))

	w.system.Exit("csi-controllers", 1) // as it does when the driver is replaced
	w.now = w.now.Add(2 * time.Second)
	w.expect("it ends and comes again", "run container csi-controllers")
	w.now = w.now.Add(11 * time.Minute)
	w.expect("after a while objects are put right", "apply cluster DNS", "apply objects of persistent volumes")
	w.Reconciler = w.agent()
	w.expect("a new agent looks once", "import images of the default bundle", "apply cluster DNS", "apply objects of persistent volumes")
	w.expect("and has nothing more to do")

	w.now = w.now.Add(time.Hour)
	w.kubelet.Exit("plane", 137)
	w.expect("the plane starts again", "run container plane")
	w.expect("and is asked for its images", "import images of the default bundle")
	w.expect("it gets its network", "write cni/10-cyvive.conflist")
	w.expect("nobody looked at objects for long, and the node is not Ready yet")
	w.api.Serve(kube.API{Ready: true, Node: &kube.Node{
		Ready: true, Heartbeat: w.now, ControlPlane: true, PodCIDR: netip.MustParsePrefix("10.244.0.0/24"),
	}})
	w.expect("it is", "apply cluster DNS", "apply objects of persistent volumes")
}

// TestVolumesHang ends csi-controllers like any other part when it does not answer any more.
func TestVolumesHang(t *testing.T) { synctest.Test(t, testVolumesHang) }

func testVolumesHang(t *testing.T) {
	w := newWorld(t)
	w.spec.Volumes = true
	w.run()
	w.expect("it answers")
	w.silent = map[string]error{"csi-controllers": os.ErrDeadlineExceeded}
	w.now = w.now.Add(2 * time.Minute)
	w.expect("it has not for too long", "end container csi-controllers, which does not answer any more")
}

// TestVolumesWaitForDefinitions: an image without them is not one that volumes can be made with, and says so.
func TestVolumesWaitForDefinitions(t *testing.T) {
	w := newWorld(t)
	w.spec.Volumes = true
	if err := os.RemoveAll(w.layout.Definitions); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Observe(t.Context(), w.spec); err == nil || !strings.Contains(err.Error(), "there are none in "+w.layout.Definitions) {
		t.Errorf("without definitions: got %v", err)
	}
	w.spec.Volumes = false
	w.observe()
}

func TestReadDefinitions(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.json")
	for text, want := range map[string]string{
		`{`: "unexpected end", `[]`: "cannot unmarshal", `null`: "got a <nil>", `{"kind": "CustomResourceDefinition"}`: "with a name",
		`{"kind": "Secret", "metadata": {"name": "a"}}`: "got a Secret",
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := kube.ReadDefinitions(dir); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

// TestVolumeObjects: order and content as recorded, and a revision that covers all of it.
func TestVolumeObjects(t *testing.T) {
	definition := kube.Manifest{Path: "/definition", Object: map[string]any{"kind": "CustomResourceDefinition"}}
	objects := kube.NewVolumeObjects([]kube.Manifest{definition})
	var text strings.Builder
	for _, m := range objects.Manifests {
		data, err := json.MarshalIndent(m.Object, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString(m.Path + "\n" + string(data) + "\n")
	}
	golden(t, "volumes.txt", text.String())
	if again := kube.NewVolumeObjects([]kube.Manifest{definition}); again.Revision != objects.Revision {
		t.Errorf("made twice they have the revisions %s and %s", objects.Revision, again.Revision)
	}
	definition.Object = map[string]any{"kind": "CustomResourceDefinition", "changed": true}
	if other := kube.NewVolumeObjects([]kube.Manifest{definition}); other.Revision == objects.Revision {
		t.Error("another definition has the same revision")
	}
}

// TestCSIControllersMayNot: the rules of csi-controllers hold nothing by which it could become more than it is.
func TestCSIControllersMayNot(t *testing.T) {
	objects := kube.NewVolumeObjects(nil)
	role := objects.Manifests[0].Object
	var rules []struct{ APIGroups, Resources, Verbs []string }
	data, err := json.Marshal(role["rules"])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &rules); err != nil || role["kind"] != "ClusterRole" || len(rules) < 5 {
		t.Fatalf("rules of %v: %d, %v", role["kind"], len(rules), err)
	}
	for _, r := range rules {
		for _, group := range r.APIGroups {
			if group == "*" || strings.HasPrefix(group, "rbac.") || group == "apps" {
				t.Errorf("it may do something in the group %s", group)
			}
		}
		for _, resource := range r.Resources {
			if resource == "*" || slices.Contains([]string{"secrets", "pods", "nodes", "serviceaccounts", "configmaps"}, resource) {
				t.Errorf("it may %v %s", r.Verbs, resource)
			}
		}
		if slices.Contains(r.Verbs, "*") {
			t.Errorf("it may do everything with %v", r.Resources)
		}
	}
}

// TestCSIControllersIdentity: its certificate is of the user that the rules are bound to, of no group, and for a client only.
func TestCSIControllersIdentity(t *testing.T) {
	spec := testSpec(t)
	spec.Volumes = true
	sets, err := kube.Secrets(spec, map[string]string{"csi-controllers": "/secrets"}, start)
	if err != nil {
		t.Fatal(err)
	}
	files := sets["csi-controllers"]
	block, _ := pem.Decode(files["client.crt"])
	if block == nil {
		t.Fatal("it has no certificate")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	subject, forClients := certificate.Subject, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if subject.CommonName != "system:cyvive:csi-controllers" || len(subject.Organization) > 0 || !slices.Equal(certificate.ExtKeyUsage, forClients) {
		t.Errorf("certificate of %s for %v", subject, certificate.ExtKeyUsage)
	}
	if !strings.Contains(string(files["kubeconfig"]), "/secrets/client.key") || len(files) != 4 {
		t.Errorf("files: %d, kubeconfig\n%s", len(files), files["kubeconfig"])
	}
}
