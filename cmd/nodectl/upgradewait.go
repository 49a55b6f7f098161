package main

import (
	"context"
	"errors"
	"fmt"

	upgradev1 "github.com/cyvive/cyvive/api/proto/upgrade/v1"
)

// started has what was installed started, unless that is left to others, and, if so asked, waits for what becomes of it.
func (a *app) started(ctx context.Context, t *target, node string, conn *connection, f upgradeFlags, target *upgradev1.System, bootID string) error {
	if f.stay {
		fmt.Fprintf(a.stderr, "%s: version %s starts with the next boot\n", node, systemText(target))
		return nil
	}
	if f.stages() {
		var err error
		if bootID, err = a.reboot(ctx, conn, node, f.drain); err != nil {
			return fmt.Errorf("version %s was installed and starts with the next boot, but: %w", systemText(target), err)
		}
	}
	fmt.Fprintf(a.stderr, "%s: rebooting into version %s\n", node, systemText(target))
	if !f.wait.wait {
		return nil
	}
	var outcome error
	err := a.poll(ctx, f.wait.limit, node, func(ctx context.Context) error {
		s, err := askUpgrade(ctx, t, node)
		if err != nil {
			return err
		}
		var waiting error
		waiting, outcome = becomes(s, target, bootID)
		return waiting
	})
	if err != nil || outcome != nil {
		return errors.Join(err, outcome)
	}
	fmt.Fprintf(a.stderr, "%s: version %s has proven itself and stays\n", node, systemText(target))
	return nil
}

// becomes says what has become of an upgrade: either it is waited for still, or it has ended, with an error unless the target stays.
func becomes(s *upgradev1.StatusResponse, target *upgradev1.System, bootID string) (waiting, outcome error) {
	switch s.GetStage() {
	case upgradev1.Stage_STAGE_TRIAL:
		if s.GetReason() == "" {
			return fmt.Errorf("version %s is on trial: all has to be in order for a while", s.GetRunning().GetVersion()), nil
		}
		return fmt.Errorf("version %s is on trial: %s", s.GetRunning().GetVersion(), s.GetReason()), nil
	case upgradev1.Stage_STAGE_REVERTING:
		return fmt.Errorf("going back: %s", s.GetReason()), nil
	case upgradev1.Stage_STAGE_IDLE:
	default:
		if s.GetBootId() == bootID {
			return errors.New("going down"), nil
		}
		return fmt.Errorf("the node is %s", enumName(s.GetStage().String(), "STAGE_")), nil
	}
	switch last := s.GetLast(); {
	case last.GetTarget().GetRootHash() != target.GetRootHash():
		return nil, fmt.Errorf("the node runs version %s and knows nothing of an upgrade to %s", systemText(s.GetRunning()), systemText(target))
	case !last.GetSucceeded() && s.GetBootId() == bootID:
		return nil, fmt.Errorf("given up: %s", last.GetReason())
	case !last.GetSucceeded():
		return nil, fmt.Errorf("rolled back to version %s: %s", systemText(s.GetRunning()), last.GetReason())
	}
	return nil, nil
}

// askUpgrade dials anew, since a connection to a node that went down may take long to notice.
func askUpgrade(ctx context.Context, t *target, node string) (*upgradev1.StatusResponse, error) {
	conn, err := t.dial(node)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	s, err := getUpgrade(ctx, conn)
	if err != nil {
		return nil, t.explain(err, conn.lastCause())
	}
	return s, nil
}

// systemText is a release with its slot, for a person.
func systemText(s *upgradev1.System) string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf("%s (slot %s)", s.GetVersion(), enumName(s.GetSlot().String(), "SLOT_"))
}
