import { configureStore } from "@reduxjs/toolkit";
import { api, proxy } from "./api";
import session, { loggedIn, loggedOut } from "./session";

export const store = configureStore({
  reducer: { session, [api.reducerPath]: api.reducer },
  middleware: (defaults) => defaults().concat(api.middleware),
});

export type State = ReturnType<typeof store.getState>;

// All tabs log out together, and come back together, also those that ask for nothing just now.
const events = new EventSource(`${proxy}/_reauth/events`);
events.addEventListener("logout", () => store.dispatch(loggedOut()));
events.addEventListener("resumed", () => store.dispatch(loggedIn()));
