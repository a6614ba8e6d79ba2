// Typed by hand: `resolveJsonModule` would pull package.json under `rootDir`
// and move every file of lib/ one folder down.
declare module '*/package.json' {
  const manifest: { readonly version: string };
  export default manifest;
}
