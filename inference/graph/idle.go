package graph

// IdleBytes is what the plan keeps for its next runs.
func (p *Plan) IdleBytes() int64 { return int64(len(p.free)) * int64(p.ArenaBytes()) }
