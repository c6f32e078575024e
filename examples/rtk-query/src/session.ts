// Whether somebody is logged in: the whole of what a frontend has to know of a session.
import { createSlice } from "@reduxjs/toolkit";

const session = createSlice({
  name: "session",
  initialState: { loggedIn: true, logouts: 0 },
  reducers: {
    // Many answers may say so at once, and the event stream says it, too: the first one counts.
    loggedOut: (state) => {
      if (state.loggedIn) state.logouts += 1;
      state.loggedIn = false;
    },
    loggedIn: (state) => {
      state.loggedIn = true;
    },
  },
});

export const { loggedOut, loggedIn } = session.actions;
export default session.reducer;
