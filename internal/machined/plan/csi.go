package plan

import (
	"slices"

	driver "github.com/cyvive/cyvive/internal/csi"
	csi "github.com/cyvive/cyvive/internal/csi/node"
	"github.com/cyvive/cyvive/internal/machined/config"
)

// volumesDataset is what a file system is called that is for volumes of pods, right below its pool: the system's own, and that of a declared pool.
const volumesDataset = "volumes"

// csiSpec is what the CSI driver is to have. Volumes are made in the system's own pool and in those that are declared, can be written to, and have a Dataset
// document for their file system volumes: by that somebody has said that pods may fill the pool, and with which quota. A name that is too long for volumes below it
// to have theirs is left out. Of other declared pools, volumes may have been made in those that are not destroyed, before they were exported or became read-only, or
// the document was taken away: what is not found elsewhere is not gone for that.
func csiSpec(cfg *config.Config) *csi.Spec {
	spec := &csi.Spec{NodeName: cfg.Machine.Hostname, Parents: []string{config.SystemVolumes}}
	for _, p := range cfg.Pools {
		name := p.Name + "/" + volumesDataset
		declared := slices.ContainsFunc(cfg.Datasets, func(d config.Dataset) bool { return d.Name == name && d.Volume == nil })
		switch {
		case !driver.IsParent(name) || p.Presence == config.PoolDestroyed:
		case declared && p.Presence == config.PoolImported && !p.ReadOnly:
			spec.Parents = append(spec.Parents, name)
		default:
			spec.Away = append(spec.Away, name)
		}
	}
	return spec
}
