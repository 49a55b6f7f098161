package peer

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// valid makes a text one that a message can have. Names of ZFS are ASCII.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

func validAll(list []string) []string {
	out := make([]string, len(list))
	for i, text := range list {
		out[i] = valid(text)
	}
	return out
}

func kindToProto(k zfs.Kind) replicationv1.Kind {
	switch k {
	case zfs.Filesystem:
		return replicationv1.Kind_KIND_FILESYSTEM
	case zfs.Volume:
		return replicationv1.Kind_KIND_VOLUME
	}
	return replicationv1.Kind_KIND_UNSPECIFIED
}

func kindOf(k replicationv1.Kind) (zfs.Kind, error) {
	switch k {
	case replicationv1.Kind_KIND_FILESYSTEM:
		return zfs.Filesystem, nil
	case replicationv1.Kind_KIND_VOLUME:
		return zfs.Volume, nil
	}
	return "", fmt.Errorf("%w: kind %d is neither that of a file system nor of a volume", zfs.ErrInvalid, k)
}

// stamped leaves a time out that is none.
func stamped(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func rootToProto(r replication.RootState) *replicationv1.RootState {
	return &replicationv1.RootState{
		Name: valid(r.Name), Exists: r.Exists, Generation: r.Generation, Fenced: r.Fenced, Replica: valid(r.Replica), Promoting: r.Promoting,
	}
}

func rootOf(r *replicationv1.RootState) replication.RootState {
	return replication.RootState{
		Name: r.GetName(), Exists: r.GetExists(), Generation: r.GetGeneration(), Fenced: r.GetFenced(), Replica: r.GetReplica(), Promoting: r.GetPromoting(),
	}
}

// fileSystemToProto leaves the versions out.
func fileSystemToProto(f *replication.FileSystem) *replicationv1.FileSystem {
	out := &replicationv1.FileSystem{
		Name: valid(f.Name), Kind: kindToProto(f.Kind), Guid: uint64(f.GUID), Token: valid(f.Token), Placeholder: f.Placeholder, Marked: f.Marked,
		Replica: valid(f.Replica), Source: uint64(f.Source), Stream: valid(f.Stream), ReadOnly: f.ReadOnly, Encryption: valid(f.Encryption),
		EncryptionRoot: valid(f.EncryptionRoot), WrittenBytes: f.WrittenBytes, ReferencedBytes: f.ReferencedBytes,
	}
	if p := f.Partial; p != (zfs.Token{}) {
		out.Partial = &replicationv1.Partial{
			ToName: valid(p.ToName), ToGuid: uint64(p.To), FromGuid: uint64(p.From), ReceivedBytes: p.BytesReceived, Large: p.Large, Raw: p.Raw,
		}
	}
	return out
}

// fileSystemOf leaves the versions out.
func fileSystemOf(f *replicationv1.FileSystem) (replication.FileSystem, error) {
	kind, err := kindOf(f.GetKind())
	if err != nil {
		return replication.FileSystem{}, fmt.Errorf("%.300q: %w", f.GetName(), err)
	}
	if _, err := zfs.ParseDataset(f.GetName()); err != nil {
		return replication.FileSystem{}, err
	}
	out := replication.FileSystem{
		Name: f.GetName(), Kind: kind, GUID: zfs.GUID(f.GetGuid()), Token: f.GetToken(), Placeholder: f.GetPlaceholder(), Marked: f.GetMarked(),
		Replica: f.GetReplica(), Source: zfs.GUID(f.GetSource()), Stream: f.GetStream(), ReadOnly: f.GetReadOnly(), Encryption: f.GetEncryption(),
		EncryptionRoot: f.GetEncryptionRoot(), WrittenBytes: f.GetWrittenBytes(), ReferencedBytes: f.GetReferencedBytes(),
	}
	if p := f.GetPartial(); p != nil {
		out.Partial = zfs.Token{
			ToName: p.GetToName(), To: zfs.GUID(p.GetToGuid()), From: zfs.GUID(p.GetFromGuid()), BytesReceived: p.GetReceivedBytes(),
			Large: p.GetLarge(), Raw: p.GetRaw(),
		}
	}
	return out, nil
}

func versionToProto(v replication.Version) *replicationv1.Version {
	return &replicationv1.Version{
		Name: valid(v.Name), Bookmark: v.Bookmark, Guid: uint64(v.GUID), CreateTxg: v.CreateTXG, CreatedAt: stamped(v.Created), Step: v.Step, Last: v.Last,
	}
}

func versionOf(v *replicationv1.Version) (replication.Version, error) {
	out := replication.Version{
		Name: v.GetName(), Bookmark: v.GetBookmark(), GUID: zfs.GUID(v.GetGuid()), CreateTXG: v.GetCreateTxg(), Step: v.GetStep(), Last: v.GetLast(),
	}
	if t := v.GetCreatedAt(); t != nil {
		if err := t.CheckValid(); err != nil {
			return out, fmt.Errorf("version %.300q: created_at: %w", out.Name, err)
		}
		out.Created = t.AsTime()
	}
	// Bookmarks have the same characters in their names as snapshots (zfs_component_namecheck of module/zcommon/zfs_namecheck.c).
	return out, zfs.CheckSnapshotName(out.Name)
}

// DecisionToProto is a decision with its words.
func DecisionToProto(d replication.Decision) *replicationv1.Decision {
	return &replicationv1.Decision{
		Kind: string(d.Kind), Target: valid(d.Target), To: uint64(d.To), Destroys: validAll(d.Destroys), Changes: d.Changes, Name: valid(d.Name),
		Text: valid(d.String()),
	}
}

func decisionOf(d *replicationv1.Decision) replication.Decision {
	return replication.Decision{
		Kind: replication.DecisionKind(d.GetKind()), Target: d.GetTarget(), To: zfs.GUID(d.GetTo()), Destroys: d.GetDestroys(), Changes: d.GetChanges(),
		Name: d.GetName(),
	}
}

// ConflictToProto is a conflict with its options.
func ConflictToProto(c *replication.Conflict) *replicationv1.Conflict {
	out := &replicationv1.Conflict{Kind: string(c.Kind), Source: valid(c.Source), Target: valid(c.Target), Detail: valid(c.Detail)}
	for _, o := range c.Options {
		out.Options = append(out.Options, DecisionToProto(o))
	}
	return out
}

func conflictOf(c *replicationv1.Conflict) *replication.Conflict {
	out := &replication.Conflict{
		Kind: replication.ConflictKind(c.GetKind()), Source: c.GetSource(), Target: c.GetTarget(), Detail: c.GetDetail(),
	}
	for _, o := range c.GetOptions() {
		out.Options = append(out.Options, decisionOf(o))
	}
	return out
}
