package signalbox

import (
	"slices"
	"time"

	pb "github.com/signalbox/signalbox/clients/go/signalboxv1"
)

// send is something to send that has one outcome.
type send struct {
	frame func(id uint64) *pb.JoinRequest
	bytes int
	retry bool
	// outcome is whom to tell.
	outcome *Outcome
	id      uint64
	// due says that it must be sent again.
	due bool
}

// sends are those of one client, in their order.
type sends struct {
	waiting    []*send
	bytes      int
	unresolved []*send
	lastID     uint64
	maxSends   int
	maxBytes   int
}

func (s *sends) push(one *send, atOnce bool) error {
	full := len(s.waiting) >= s.maxSends || s.bytes+one.bytes > s.maxBytes
	if full && !atOnce {
		return &QueueFullError{Sends: len(s.waiting), Bytes: s.bytes, MaxSends: s.maxSends, MaxBytes: s.maxBytes}
	}
	s.bytes += one.bytes
	s.waiting = append(s.waiting, one)
	return nil
}

func (s *sends) isSettled() bool { return len(s.waiting) == 0 && len(s.unresolved) == 0 }

// again is what must be sent again, in order: it was allowed before.
func (s *sends) again() []*pb.JoinRequest {
	var frames []*pb.JoinRequest
	for _, one := range s.unresolved {
		if one.due {
			one.due = false
			frames = append(frames, one.frame(one.id))
		}
	}
	return frames
}

// next is the next to be sent for the first time.
func (s *sends) next() *pb.JoinRequest {
	one := s.waiting[0]
	s.waiting = s.waiting[1:]
	s.bytes -= one.bytes
	s.lastID++
	one.id = s.lastID
	s.unresolved = append(s.unresolved, one)
	return one.frame(one.id)
}

// resolve is whom to tell an outcome; nil when it was told before.
func (s *sends) resolve(id uint64) *Outcome {
	at, found := slices.BinarySearchFunc(s.unresolved, id, func(one *send, id uint64) int {
		return int(int64(one.id) - int64(id))
	})
	if !found {
		return nil
	}
	outcome := s.unresolved[at].outcome
	s.unresolved = slices.Delete(s.unresolved, at, at+1)
	return outcome
}

// lost: the stream is; those that are not to wait for the next fail.
func (s *sends) lost() []*Outcome {
	var failed []*Outcome
	kept := s.waiting[:0:0]
	s.bytes = 0
	for _, one := range s.waiting {
		if one.retry {
			kept = append(kept, one)
			s.bytes += one.bytes
		} else {
			failed = append(failed, one.outcome)
		}
	}
	s.waiting = kept
	return failed
}

// resumed: the connection is, and the server has decided up to decided: what is above must be
// sent again. Those that are not to be sent later fail: they were not sent.
func (s *sends) resumed(decided uint64, lost bool) []*Outcome {
	var failed []*Outcome
	kept := s.unresolved[:0:0]
	for _, one := range s.unresolved {
		if one.id > decided && lost && !one.retry {
			failed = append(failed, one.outcome)
			continue
		}
		one.due = one.id > decided
		kept = append(kept, one)
	}
	s.unresolved = kept
	// An id that was never decided may still be used only upwards.
	s.lastID = max(s.lastID, decided)
	return failed
}

// renewed: the connection is another; nobody knows what became of what was on its way.
func (s *sends) renewed() []*Outcome {
	s.lastID = 0
	return outcomes(&s.unresolved)
}

// discard is what was never sent, and won't be.
func (s *sends) discard() []*Outcome {
	s.bytes = 0
	return outcomes(&s.waiting)
}

func outcomes(of *[]*send) []*Outcome {
	all := make([]*Outcome, 0, len(*of))
	for _, one := range *of {
		all = append(all, one.outcome)
	}
	*of = nil
	return all
}

// pace is the server's rate limit, as the generic cell rate algorithm, counted when outcomes
// come: the server has taken each send by then, so that its count is never above.
type pace struct {
	each   time.Duration
	burst  int
	paidAt time.Duration
}

func newPace(perSecond, burst uint32) pace {
	// Either is no limit to the server when it is 0.
	if perSecond == 0 || burst == 0 {
		return pace{}
	}
	return pace{each: time.Second / time.Duration(perSecond), burst: int(burst)}
}

func (p *pace) decided(now time.Duration) { p.paidAt = max(p.paidAt, now) + p.each }

// readyAt is when one more may be sent; false: not before one of them is decided.
func (p *pace) readyAt(unresolved int) (time.Duration, bool) {
	if p.each == 0 {
		return 0, true
	}
	spare := p.burst - unresolved - 1
	return p.paidAt - p.each*time.Duration(max(spare, 0)), spare >= 0
}
