// The events of a session's streams, kept so that a client can go on after the last one it saw.

export class Events {
  #events = [];

  async storeEvent(stream, message) {
    const id = `${stream}/${this.#events.length}`;
    this.#events.push({ id, stream, message });
    return id;
  }

  async replayEventsAfter(last, { send }) {
    const seen = this.#events.findIndex(({ id }) => id === last);
    if (seen < 0) return last;
    const { stream } = this.#events[seen];
    for (const event of this.#events.slice(seen + 1)) {
      // The event that opens a stream says nothing.
      if (event.stream === stream && Object.keys(event.message).length > 0) await send(event.id, event.message);
    }
    return stream;
  }
}
