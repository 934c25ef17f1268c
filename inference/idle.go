package inference

// IdleBytes is what the model keeps for its next runs, weights not counted.
func (m *Model) IdleBytes() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var sum int64
	for _, c := range m.plans {
		if c.plan != nil {
			sum += c.plan.IdleBytes()
		}
	}
	return sum
}
