package server

import (
	"context"
	"crypto/x509"
	"io"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
)

// Replication are the node's jobs that keep datasets on two nodes the same, in the messages of the API. Safe for concurrent use. On a node without
// OpenZFS every method is ErrPrecondition. A job that is not declared is ErrNotFound; what its state, or its direction, does not allow is
// ErrPrecondition.
type Replication interface {
	// List is for all jobs where name is empty.
	List(ctx context.Context, name string) ([]*replicationv1.Job, error)
	// Changed waits until List may have something else to say, or the context ends.
	Changed(ctx context.Context)
	// Run begins a run and returns its number. ErrInvalid where a confirmation is not the name of the dataset, ErrDenied where a decision destroys something
	// and the caller is none who may have that done, see [MayLose].
	Run(ctx context.Context, name string, decisions []*replicationv1.Choice) (run uint64, err error)
	// Plan is what a run would do now.
	Plan(ctx context.Context, name string) (*replicationv1.PlanResponse, error)
	PlanFailover(ctx context.Context, name string) (*replicationv1.PlanFailoverResponse, error)
	// Failover and Failback are ErrInvalid where confirm is not the name that the protos say.
	Failover(ctx context.Context, name, confirm string, decisions []*replicationv1.Choice) (*replicationv1.FailoverResponse, error)
	Failback(ctx context.Context, name, confirm string, decisions []*replicationv1.Choice) (run uint64, err error)
	// Verify calls send for each dataset, from one goroutine, and returns send's error as it is.
	Verify(ctx context.Context, name string, contents bool, send func(*replicationv1.VerifyResponse) error) error
}

// Peer is a node that a job of the configuration names. One that may ask for several jobs is there several times.
type Peer struct {
	// Job is the UUID by which it asks.
	Job string
	// Identity is a name or address that its certificate has to have.
	Identity string
	// Authority vouches for its certificate; nil is this node's own.
	Authority *x509.CertPool
}

// PeerCalls is what other nodes ask of this one, in the messages of the API. Safe for concurrent use. The caller is one whom a Peer of the request's job
// names. A request for what that job does not let it do, or of datasets that it does not name, is ErrDenied.
type PeerCalls interface {
	// Look and Send call send from one goroutine, and return its error as it is.
	Look(ctx context.Context, r *replicationv1.LookRequest, send func(*replicationv1.LookResponse) error) error
	Send(ctx context.Context, r *replicationv1.SendRequest, send func(piece []byte) error) error
	// Receive reads the stream to its end, or to an error of its own.
	Receive(ctx context.Context, h *replicationv1.ReceiveHeader, stream io.Reader) error

	Learn(ctx context.Context, r *replicationv1.LearnRequest) error
	Clean(ctx context.Context, r *replicationv1.CleanRequest) error
	Checksum(ctx context.Context, r *replicationv1.ChecksumRequest) (sum []byte, err error)
	Estimate(ctx context.Context, r *replicationv1.EstimateRequest) (bytes uint64, err error)
	Protect(ctx context.Context, r *replicationv1.ProtectRequest) error
	Advance(ctx context.Context, r *replicationv1.AdvanceRequest) error
	Freeze(ctx context.Context, r *replicationv1.FreezeRequest) error
	MakePlaceholder(ctx context.Context, r *replicationv1.MakePlaceholderRequest) error
	Abort(ctx context.Context, r *replicationv1.AbortRequest) error
	Complete(ctx context.Context, r *replicationv1.CompleteRequest) error
	Resolve(ctx context.Context, r *replicationv1.ResolveRequest) error
}
