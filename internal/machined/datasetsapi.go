package machined

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	datasetv1 "github.com/cyvive/cyvive/api/proto/dataset/v1"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/dataset"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// datasetsAPI implements server.Datasets.
type datasetsAPI struct{ a *Agent }

// datasetProperties are what List reads.
func datasetProperties() []string {
	return []string{
		"used", "available", "referenced", "usedbysnapshots", "quota", "refquota", "reservation", "refreservation", "volsize", "compression", "compressratio",
		"mountpoint", "mounted", "origin", "readonly",
	}
}

// List implements server.Datasets.
func (v datasetsAPI) List(ctx context.Context, root string) ([]*datasetv1.Dataset, error) {
	if err := poolsAPI(v).here(); err != nil {
		return nil, err
	}
	q := zfs.Query{Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume}, Depth: -1, Properties: datasetProperties()}
	if root != "" {
		q.Roots = []string{root}
	}
	ctx, end, err := v.a.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	list, err := v.a.cfg.Pools.Datasets.List(ctx, q)
	if err != nil {
		return nil, poolClassed(err)
	}
	declared := v.declared()
	var out []*datasetv1.Dataset
	for _, d := range list {
		one := datasetToProto(d)
		one.Declared = declared[d.Name]
		out = append(out, one)
	}
	return out, nil
}

// declared are the names that documents declare.
func (v datasetsAPI) declared() map[string]bool {
	declared := map[string]bool{}
	if cfg := v.a.snapshot().input.Config; cfg != nil {
		for _, d := range cfg.Datasets {
			declared[d.Name] = true
		}
	}
	return declared
}

// Get implements server.Datasets.
func (v datasetsAPI) Get(ctx context.Context, name string) (*datasetv1.Dataset, error) {
	if err := poolsAPI(v).here(); err != nil {
		return nil, err
	}
	ctx, end, err := v.a.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	d, err := v.a.cfg.Pools.Datasets.Get(ctx, name)
	if err != nil {
		return nil, poolClassed(err)
	}
	out := datasetToProto(d)
	out.Declared = v.declared()[d.Name]
	for _, name := range slices.Sorted(maps.Keys(d.Properties)) {
		p := d.Properties[name]
		out.Properties = append(out.Properties, &datasetv1.Property{Name: valid(name), Value: valid(p.Value), Source: sourceToProto(p.Source), InheritedFrom: valid(p.From)})
	}
	return out, nil
}

func sourceToProto(s zfs.Source) datasetv1.Source {
	return map[zfs.Source]datasetv1.Source{
		zfs.SourceNone: datasetv1.Source_SOURCE_NONE, zfs.SourceDefault: datasetv1.Source_SOURCE_DEFAULT, zfs.SourceLocal: datasetv1.Source_SOURCE_LOCAL,
		zfs.SourceInherited: datasetv1.Source_SOURCE_INHERITED, zfs.SourceReceived: datasetv1.Source_SOURCE_RECEIVED,
		zfs.SourceTemporary: datasetv1.Source_SOURCE_TEMPORARY,
	}[s]
}

// Declared implements server.Datasets. The loop looks once a minute.
func (v datasetsAPI) Declared(context.Context) ([]*datasetv1.Dataset, error) {
	if err := poolsAPI(v).here(); err != nil {
		return nil, err
	}
	var out []*datasetv1.Dataset
	for _, d := range v.a.snapshot().datasets.Status.Datasets {
		if d.Declared {
			out = append(out, &datasetv1.Dataset{
				Name: valid(d.Name), Kind: kindToProto(d.Kind), Declared: true, UsedBytes: d.UsedBytes, AvailableBytes: d.AvailableBytes, ReferencedBytes: d.ReferencedBytes,
				QuotaBytes: d.QuotaBytes, RefquotaBytes: d.RefquotaBytes, VolumeBytes: d.SizeBytes,
			})
		}
	}
	return out, nil
}

// Promote implements server.Datasets. What the node keeps for itself is not promoted, nor what is Kubernetes's, whose driver would not find its snapshots any more, nor
// what replication receives or has fenced: what it goes on with would be another's.
func (v datasetsAPI) Promote(ctx context.Context, name string) (string, error) {
	system, err := snapshotsAPI(v).system(true)
	if err != nil {
		return "", err
	}
	if err := notOfSystem("promote", name); err != nil {
		return "", err
	}
	clone, err := promotable(ctx, system, name)
	if err != nil {
		return "", err
	}
	of, _, isClone := strings.Cut(clone.Properties["origin"].Value, "@")
	if !isClone {
		return "", fmt.Errorf("promote %s: %w: it is no clone", name, server.ErrPrecondition)
	}
	if err := notOfSystem("promote a clone of", of); err != nil {
		return "", err
	}
	if _, err := promotable(ctx, system, of); err != nil {
		return "", err
	}
	if err := system.Promote(ctx, name); err != nil {
		return "", datasetClassed(err)
	}
	v.a.log.Info("clone promoted over the API", "dataset", name, "clone", of)
	v.a.events.Add(server.EventAgent, "dataset "+name, "promoted", of+" is a clone of it now")
	return of, nil
}

// promotable looks at a dataset, with its origin. It is an error for one whose snapshots are not to be another's. The marks of replication are inherited.
func promotable(ctx context.Context, system zfs.System, name string) (zfs.Dataset, error) {
	found, err := system.List(ctx, zfs.Query{
		Roots: []string{name}, Alone: true, Properties: []string{"origin", dataset.VolumeProperty, replication.PropertyReplica, replication.PropertyFenced},
	})
	if err != nil {
		return zfs.Dataset{}, datasetClassed(err)
	}
	if len(found) != 1 {
		return zfs.Dataset{}, fmt.Errorf("dataset %s: %w", name, server.ErrNotFound)
	}
	has := func(mark string) bool {
		value := found[0].Properties[mark].Value
		return value != "" && value != "-"
	}
	switch {
	case has(dataset.VolumeProperty):
		return zfs.Dataset{}, fmt.Errorf("promote: %w: %s is a volume of Kubernetes, which has its snapshots", server.ErrPrecondition, name)
	case has(replication.PropertyReplica), has(replication.PropertyFenced):
		return zfs.Dataset{}, fmt.Errorf("promote: %w: replication decides what is in %s", server.ErrPrecondition, name)
	}
	return found[0], nil
}

// Conditions implements server.Datasets. What is not declared is no condition here: List has it.
func (v datasetsAPI) Conditions(_ context.Context, root string) ([]*datasetv1.Condition, error) {
	if err := poolsAPI(v).here(); err != nil {
		return nil, err
	}
	var out []*datasetv1.Condition
	for _, c := range v.a.snapshot().datasets.Status.Conditions {
		if c.Reason != dataset.NotDeclared && (root == "" || c.Dataset == root || strings.HasPrefix(c.Dataset, root+"/")) {
			out = append(out, &datasetv1.Condition{Dataset: c.Dataset, Reason: string(c.Reason), Text: valid(c.Message)})
		}
	}
	return out, nil
}

func kindToProto(k zfs.Kind) datasetv1.Kind {
	return map[zfs.Kind]datasetv1.Kind{zfs.Filesystem: datasetv1.Kind_KIND_FILESYSTEM, zfs.Volume: datasetv1.Kind_KIND_VOLUME}[k]
}

func datasetToProto(d zfs.Dataset) *datasetv1.Dataset {
	text := func(name string) string {
		if value := d.Properties[name].Value; value != "-" {
			return valid(value)
		}
		return ""
	}
	// "none" of a limit, and what a dataset has not, are 0.
	size := func(name string) uint64 {
		n, _ := strconv.ParseUint(text(name), 10, 64)
		return n
	}
	ratio, _ := strconv.ParseFloat(strings.TrimSuffix(text("compressratio"), "x"), 64)
	return &datasetv1.Dataset{
		Name: valid(d.Name), Kind: kindToProto(d.Kind), Guid: uint64(d.GUID), CreatedAt: stamped(d.Created),
		UsedBytes: size("used"), AvailableBytes: size("available"), ReferencedBytes: size("referenced"), SnapshotsBytes: size("usedbysnapshots"),
		QuotaBytes: size("quota"), RefquotaBytes: size("refquota"), ReservationBytes: size("reservation"), RefreservationBytes: size("refreservation"),
		VolumeBytes: size("volsize"), Compression: text("compression"), CompressRatio: ratio, Mountpoint: text("mountpoint"), Mounted: text("mounted") == "yes",
		Origin: text("origin"), ReadOnly: text("readonly") == "on",
	}
}

// planDestroy refuses the node's own datasets, and looks at all that is below the pool of a dataset: a clone may be anywhere in it. The fingerprint is that of
// what would be destroyed.
func (v datasetsAPI) planDestroy(ctx context.Context, q dataset.DestroyRequest) (ops []dataset.Op, fingerprint []byte, err error) {
	if err := poolsAPI(v).here(); err != nil {
		return nil, nil, err
	}
	if strings.Contains(q.Name, "/") { // a pool is none of datasets at all
		if err := notOfSystem("destroy", q.Name); err != nil {
			return nil, nil, err
		}
	}
	ctx, end, err := v.a.turn(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer end()
	name, _, _ := strings.Cut(q.Name, "/")
	found, err := v.a.cfg.Pools.Datasets.List(ctx, zfs.Query{
		Roots: []string{name}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume, zfs.Snapshot, zfs.Bookmark}, Depth: -1, Properties: []string{"userrefs", "clones", "origin"},
	})
	if err != nil {
		return nil, nil, datasetClassed(err)
	}
	spec := &dataset.Spec{}
	if cfg := v.a.snapshot().input.Config; cfg != nil {
		spec = plan.DatasetSpec(cfg)
	}
	if ops, err = dataset.PlanDestroy(*spec, found, q); err != nil {
		return nil, nil, datasetClassed(err)
	}
	return ops, dataset.Fingerprint(found, ops), nil
}

// PlanDestroy implements server.Datasets.
func (v datasetsAPI) PlanDestroy(ctx context.Context, name string, all bool) (*datasetv1.PlanDestroyResponse, error) {
	ops, fingerprint, err := v.planDestroy(ctx, dataset.DestroyRequest{Name: name, Confirm: name, All: all})
	if err != nil {
		return nil, err
	}
	return &datasetv1.PlanDestroyResponse{Destroyed: dataset.Destroyed(ops), Plan: fingerprint}, nil
}

// Destroy implements server.Datasets. A snapshot that is made between this look and the end is not destroyed: its dataset then has dependents.
func (v datasetsAPI) Destroy(ctx context.Context, name, confirm string, all bool, shown []byte) ([]string, error) {
	if err := v.a.goingDown(); err != nil {
		return nil, err
	}
	ops, fingerprint, err := v.planDestroy(ctx, dataset.DestroyRequest{Name: name, Confirm: confirm, All: all})
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(fingerprint, shown) {
		return nil, fmt.Errorf("destroy %s: %w: the %d datasets and snapshots that it would destroy are not those that were shown: something was made, or has gone, since; "+
			"have it planned again", name, server.ErrPrecondition, len(dataset.Destroyed(ops)))
	}
	for i, o := range ops {
		if err := dataset.Carry(ctx, v.a.cfg.Pools.Datasets, o); err != nil {
			gone := dataset.Destroyed(ops[:i])
			return gone, fmt.Errorf("%s: %w; destroyed before that: %s", o, datasetClassed(err), orNone(gone))
		}
	}
	gone := dataset.Destroyed(ops)
	v.a.log.Warn("dataset destroyed", "dataset", name, "with", len(gone)-1)
	v.a.events.Add(server.EventAgent, "dataset "+name, "destroyed", fmt.Sprintf("%d datasets and snapshots in all", len(gone)))
	return gone, nil
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}

// datasetClassed is poolClassed with the errors of datasets.
func datasetClassed(err error) error {
	switch {
	case errors.Is(err, dataset.ErrConfirmation):
		return fmt.Errorf("%w: %w", server.ErrInvalid, err)
	case errors.Is(err, dataset.ErrDeclared):
		return fmt.Errorf("%w: %w", server.ErrPrecondition, err)
	case slices.ContainsFunc([]error{zfs.ErrHeld, zfs.ErrHasDependents}, func(e error) bool { return errors.Is(err, e) }):
		return fmt.Errorf("%w: %w", server.ErrPrecondition, err) // it may be of several classes
	}
	return poolClassed(err)
}
