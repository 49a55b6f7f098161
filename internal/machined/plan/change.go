package plan

import (
	"reflect"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/machined/config"
)

// Effect is when a change of a field takes effect.
type Effect string

// The effects.
const (
	// Live is at once: the loops bring it about.
	Live Effect = "live"
	// Reboot is with the next boot.
	Reboot Effect = "reboot"
	// Never is for what a node cannot change and stay the same node.
	Never Effect = "never"
)

// Change is one field in which two configurations differ.
type Change struct {
	// Field is its path from the kind on, such as Cluster.dnsDomain; a part of it that is changed as a whole, such as Machine.ca, counts as a field. Of a
	// kind of which there may be several documents it has the name, such as Dataset[tank/data].properties.
	Field  string
	Effect Effect
	// Why says why it does not take effect at once, for a person; empty for Live.
	Why string
}

// String is the change as a line of a list.
func (c Change) String() string {
	if c.Why == "" {
		return c.Field
	}
	return c.Field + ": " + c.Why
}

// field is one row of the table of what can be changed, and when.
type field struct {
	path   string
	effect Effect
	why    string
	// value is the field of a configuration, as something that can be compared.
	value func(*config.Config) any
	// keep gives one configuration the field of another, where it is not Live.
	keep func(to, from *config.Config)
	// judge, where it is set, decides by the two configurations instead of effect and why.
	judge func(from, to *config.Config) (Effect, string)
	// changes, where it is set, finds the changes by itself: all above but path and keep is not set then.
	changes func(from, to *config.Config) []Change
	// when says for people when a change takes effect, where that is not the same for all changes.
	when string
}

// Reasons that several fields have.
const (
	atTheirStart = "the cluster's programs read it when they start"
	forItsLife   = "a cluster has it for its life; reset the node to give it another"
)

// fields is the table. Each field of a document is covered by exactly one row, by its own path or by that of a part it belongs to.
func fields() []field {
	return slices.Concat(machineFields(), networkFields(), clusterFields(), registriesFields(), storageFields())
}

func machineFields() []field {
	return []field{
		{
			path: "Machine.hostname", value: func(c *config.Config) any { return c.Machine.Hostname }, judge: judgeHostname,
			keep: func(to, from *config.Config) { to.Machine.Hostname = from.Machine.Hostname },
			when: "live; never on a node of a cluster, and with the next boot where the Cluster document is removed",
		},
		{path: "Machine.ca", effect: Live, value: func(c *config.Config) any { return c.Machine.CA }},
		{path: "Machine.certSANs", effect: Live, value: func(c *config.Config) any { return c.Machine.CertSANs }},
		{
			path: "Machine.disk.encryption.mode", effect: Never, why: "volumes are encrypted when they are made; reset the node to make them anew",
			value: func(c *config.Config) any { return c.Machine.Disk.Encryption.Mode },
			keep:  func(to, from *config.Config) { to.Machine.Disk.Encryption.Mode = from.Machine.Disk.Encryption.Mode },
		},
		// What opens a disk that is there is written on it, and changed by sealing it anew.
		{path: "Machine.disk.encryption.kms", effect: Live, value: func(c *config.Config) any { return c.Machine.Disk.Encryption.KMS }},
		{path: "Machine.profile", effect: Live, value: func(c *config.Config) any { return c.Machine.Profile }},
		{
			path: "Machine.extensions", effect: Reboot, why: "extensions are put to use when the node boots",
			value: func(c *config.Config) any { return c.Machine.Extensions },
			keep:  func(to, from *config.Config) { to.Machine.Extensions = from.Machine.Extensions },
		},
		{path: "Machine.upgrade.deadline", effect: Live, value: func(c *config.Config) any { return c.Machine.Upgrade.Deadline }},
		{path: "Machine.upgrade.gates", effect: Live, value: func(c *config.Config) any { return c.Machine.Upgrade.Gates }},
		{path: "Machine.time.servers", effect: Live, value: func(c *config.Config) any { return c.Machine.Time.Servers }},
		{path: "Machine.upgrade.sources", effect: Live, value: func(c *config.Config) any { return c.Machine.Upgrade.Sources }},
	}
}

func networkFields() []field {
	return []field{
		{path: "Network.links", effect: Live, value: func(c *config.Config) any { return c.Network.Links }},
		{path: "Network.nameservers", effect: Live, value: func(c *config.Config) any { return c.Network.Nameservers }},
	}
}

func registriesFields() []field {
	return []field{
		{path: "Registries.ca", effect: Live, value: func(c *config.Config) any { return c.Registries.CA }},
		{path: "Registries.registries", effect: Live, value: func(c *config.Config) any { return c.Registries.Registries }},
	}
}

func clusterFields() []field {
	of := func(path string, effect Effect, why string, value func(*config.Cluster) any, keep func(to, from *config.Cluster)) field {
		f := field{path: "Cluster." + path, effect: effect, why: why}
		f.value = func(c *config.Config) any {
			if c.Cluster == nil {
				return nil
			}
			return value(c.Cluster)
		}
		f.keep = func(to, from *config.Config) { keep(to.Cluster, from.Cluster) }
		return f
	}
	live := func(path string, value func(*config.Cluster) any) field { return of(path, Live, "", value, nil) }
	type cluster = config.Cluster
	volumes := of("volumes", Live, "", func(c *cluster) any { return c.Volumes }, func(to, from *cluster) { to.Volumes = from.Volumes })
	volumes.judge, volumes.when = judgeVolumes, "live to `zfs`; to `none` with the next boot"
	return []field{
		of("name", Reboot, atTheirStart, func(c *cluster) any { return c.Name }, func(to, from *cluster) { to.Name = from.Name }),
		live("endpoint", func(c *cluster) any { return c.Endpoint }),
		of("role", Never, forItsLife, func(c *cluster) any { return c.Role }, func(to, from *cluster) { to.Role = from.Role }),
		of("podCIDR", Never, forItsLife, func(c *cluster) any { return c.PodCIDR }, func(to, from *cluster) { to.PodCIDR = from.PodCIDR }),
		of("serviceCIDR", Never, forItsLife, func(c *cluster) any { return c.ServiceCIDR }, func(to, from *cluster) { to.ServiceCIDR = from.ServiceCIDR }),
		of("dnsDomain", Reboot, atTheirStart, func(c *cluster) any { return c.DNSDomain }, func(to, from *cluster) { to.DNSDomain = from.DNSDomain }),
		live("certSANs", func(c *cluster) any { return c.CertSANs }),
		volumes,
		of("ca", Reboot, atTheirStart, func(c *cluster) any { return c.CA }, func(to, from *cluster) { to.CA = from.CA }),
		of("frontProxyCA", Reboot, atTheirStart, func(c *cluster) any { return c.FrontProxyCA }, func(to, from *cluster) { to.FrontProxyCA = from.FrontProxyCA }),
		of("etcdCA", Reboot, atTheirStart, func(c *cluster) any { return c.EtcdCA }, func(to, from *cluster) { to.EtcdCA = from.EtcdCA }),
		of("serviceAccountKey", Reboot, atTheirStart, func(c *cluster) any { return c.ServiceAccountKey },
			func(to, from *cluster) { to.ServiceAccountKey = from.ServiceAccountKey }),
		of("encryptionKey", Never, "what etcd holds is sealed with it, and could not be read with another",
			func(c *cluster) any { return c.EncryptionKey }, func(to, from *cluster) { to.EncryptionKey = from.EncryptionKey }),
	}
}

// judgeHostname lets a node without a cluster be called otherwise at once. One whose cluster is removed keeps its name as long as that runs.
func judgeHostname(from, to *config.Config) (Effect, string) {
	switch {
	case from.Cluster == nil:
		return Live, ""
	case to.Cluster == nil:
		return Reboot, "what runs of the cluster knows the node by it until then"
	}
	return Never, "Kubernetes and etcd know the node by it; reset the node to give it another"
}

// judgeVolumes lets the programs that make volumes be started at once; nothing of a cluster is stopped while it runs.
func judgeVolumes(from, to *config.Config) (Effect, string) {
	if from.Cluster != nil && from.Cluster.Volumes == config.VolumesZFS {
		return Reboot, "csi-controllers runs until then; what Kubernetes has of the volumes stays"
	}
	return Live, ""
}

// Compare returns the fields in which two configurations differ, in the order of the table. A Cluster document that comes or goes is one
// change, of the field Cluster.
func Compare(from, to *config.Config) []Change {
	var changes []Change
	switch {
	case from.Cluster == nil && to.Cluster != nil:
		changes = append(changes, Change{Field: "Cluster", Effect: Live})
	case from.Cluster != nil && to.Cluster == nil:
		changes = append(changes, Change{Field: "Cluster", Effect: Reboot, Why: "what runs of the cluster is not stopped until then"})
	}
	for _, f := range fields() {
		if f.changes != nil {
			changes = append(changes, f.changes(from, to)...)
			continue
		}
		if strings.HasPrefix(f.path, "Cluster.") && (from.Cluster == nil || to.Cluster == nil) || same(f.value(from), f.value(to)) {
			continue
		}
		c := Change{Field: f.path, Effect: f.effect, Why: f.why}
		if f.judge != nil {
			c.Effect, c.Why = f.judge(from, to)
		}
		changes = append(changes, c)
	}
	return changes
}

// Assume returns changes, and with them those of the rows that fields with these paths belong to, as if they were different; an item of a list has its place
// behind the list's name, in brackets. Of a Cluster document that comes or goes nothing is added.
func Assume(changes []Change, paths []string) []Change {
	var out []Change
	whole := len(changes) > 0 && changes[0].Field == "Cluster"
	if whole {
		out = append(out, changes[0])
	}
	for _, f := range fields() {
		given := slices.ContainsFunc(paths, func(p string) bool {
			return p == f.path || strings.HasPrefix(p, f.path+".") || strings.HasPrefix(p, f.path+"[")
		})
		before := len(out)
		for _, c := range changes {
			if rowOf(c.Field) == f.path {
				out = append(out, c)
			}
		}
		if len(out) == before && given && !(whole && strings.HasPrefix(f.path, "Cluster.")) {
			out = append(out, Change{Field: f.path, Effect: f.effect, Why: f.why})
		}
	}
	return out
}

// same takes a list without items for none.
func same(a, b any) bool {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	if x.Kind() == reflect.Slice && y.Kind() == reflect.Slice && x.Len() == 0 && y.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a, b)
}

// InForce returns what of a wanted configuration holds before the next boot, on a node that began its boot with another: fields that cannot change
// live keep their values. It changes neither.
func InForce(began, wanted *config.Config) *config.Config {
	out := *wanted
	if began.Cluster != nil && wanted.Cluster == nil {
		out.Cluster = began.Cluster
	} else if wanted.Cluster != nil {
		cluster := *wanted.Cluster
		out.Cluster = &cluster
	}
	keeps := map[string]func(to, from *config.Config){}
	for _, f := range fields() {
		keeps[f.path] = f.keep
	}
	for _, c := range Compare(began, wanted) {
		if keep := keeps[rowOf(c.Field)]; keep != nil && c.Effect != Live {
			keep(&out, began)
		}
	}
	return &out
}

// With returns the changes of one effect.
func With(effect Effect, changes []Change) []Change {
	return slices.DeleteFunc(slices.Clone(changes), func(c Change) bool { return c.Effect != effect })
}
