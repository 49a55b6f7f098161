package pool

import "time"

// Function is what a scan does.
type Function string

// The functions.
const (
	NoScan     Function = "NONE"
	Scrub      Function = "SCRUB"
	Resilver   Function = "RESILVER"
	ErrorScrub Function = "ERRORSCRUB"
	// Rebuild is a sequential resilver of one vdev, which reads no checksums.
	Rebuild Function = "REBUILD"
)

// Scan is a scrub or resilver.
type Scan struct {
	Function Function
	Progress Progress
	Start    time.Time
	// End is zero while it goes on.
	End time.Time
	// Paused is since when; zero if it is not.
	Paused time.Time
	// TotalBytes are to be read, ScannedBytes found and IssuedBytes read of them; RepairedBytes were wrong and were written anew.
	TotalBytes, ScannedBytes, IssuedBytes, RepairedBytes uint64
	// Errors could not be repaired.
	Errors uint64
	// PassStart, PassIssuedBytes and PassPaused are those since it was last started or the pool imported, of which a rate is made.
	PassStart       time.Time
	PassIssuedBytes uint64
	PassPaused      time.Duration
}

// Progress is how far work is.
type Progress string

// The stages.
const (
	None     Progress = "NONE"
	Running  Progress = "RUNNING"
	Finished Progress = "FINISHED"
	Canceled Progress = "CANCELED"
	Halted   Progress = "SUSPENDED"
)

// Work is a task that goes on in the background: the expansion of a RAIDZ, the removal of a vdev, a trim, the initializing of a device.
type Work struct {
	Progress Progress
	// Vdev is the name of what it is about.
	Vdev                  string
	Start, End            time.Time
	DoneBytes, TotalBytes uint64
	// Waits says that it waits for a resilver.
	Waits bool
}

// Checkpoint is a state of the whole pool that it can be rewound to. While there is one, no vdev can be removed and no disk detached.
type Checkpoint struct {
	Start      time.Time
	SpaceBytes uint64
	Discarding bool
}

// Active says that it goes on, paused or not.
func (s Scan) Active() bool { return s.Progress == Running }

// Resilvers says that redundancy is being restored.
func (s Scan) Resilvers() bool {
	return s.Active() && (s.Function == Resilver || s.Function == Rebuild)
}

// DonePercent is how far it is, 0 to 100.
func (s Scan) DonePercent() float64 {
	if s.TotalBytes == 0 {
		return 0
	}
	return min(100, 100*float64(s.IssuedBytes)/float64(s.TotalBytes))
}

// Rate is bytes a second since the scan was last started, without pauses; 0 if that was less than a second ago, or it does not run.
func (s Scan) Rate(now time.Time) float64 {
	seconds := (now.Sub(s.PassStart) - s.PassPaused).Seconds()
	if !s.Active() || !s.Paused.IsZero() || s.PassStart.IsZero() || seconds < 1 {
		return 0
	}
	return float64(s.PassIssuedBytes) / seconds
}

// ETA is how long it will take yet, about; 0 if that cannot be told.
func (s Scan) ETA(now time.Time) time.Duration {
	rate := s.Rate(now)
	if rate <= 0 || s.IssuedBytes >= s.TotalBytes {
		return 0
	}
	seconds := float64(s.TotalBytes-s.IssuedBytes) / rate
	const limit = 10 * 365 * 24 * 3600
	return (time.Duration(min(seconds, limit)) * time.Second).Round(time.Second)
}
