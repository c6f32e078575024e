// The API through reauth-proxy. There is no token in here, and no code for one.
import { type BaseQueryFn, createApi, type FetchArgs, fetchBaseQuery, type FetchBaseQueryError } from "@reduxjs/toolkit/query/react";
import { loggedOut } from "./session";

export const proxy: string = import.meta.env.VITE_PROXY ?? "http://localhost:8080";

const plain = fetchBaseQuery({ baseUrl: proxy });

// The one place where the signal is heeded.
const baseQuery: BaseQueryFn<string | FetchArgs, unknown, FetchBaseQueryError> = async (args, api, options) => {
  const result = await plain(args, api, options);
  const signal = result.meta?.response?.headers.get("Reauth-Signal");
  if (signal?.startsWith("logout")) api.dispatch(loggedOut());
  return result;
};

export type Orders = Record<string, unknown>;

export const api = createApi({
  baseQuery,
  endpoints: (build) => ({
    getOrders: build.query<Orders, number>({ query: (shop) => `/orders?shop=${shop}` }),
  }),
});

export const { useGetOrdersQuery } = api;
